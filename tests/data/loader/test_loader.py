"""The order contract, batches and their parts, prefetching."""

import threading
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core.errors import ConfigError, DataError
from components.data.config import PrepareConfig
from components.data.images import load_image
from components.data.loader.loader import Loader
from components.data.prepare.passes import prepare
from components.data.tokens import IGNORE_INDEX
from tests.data.samples import (
    IMAGE_TOKEN_ID,
    ROUND_SOURCES,
    build_tokenizer,
    jpeg,
    write_captions,
    write_mixture,
)

PATCHES = 4
PAD_ID = 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """48 rows of the mixture, 4 of them without image."""
    root = tmp_path_factory.mktemp("data")
    write_mixture(root / "raw")
    write_captions(root / "raw", 5)
    for stage in ("pretrain", "finetune"):
        mixture = {} if stage == "pretrain" else {"mixture": {"sources": ROUND_SOURCES}}
        config = PrepareConfig(stage=stage, image={"size_px": 28}, max_tokens=1024, **mixture)
        prepare(config, root / "raw", build_tokenizer(), IMAGE_TOKEN_ID, PATCHES, root / stage)
    return root


def loader(folder, global_batch=8, stage="finetune", **options):
    return Loader(folder / stage, global_batch, PAD_ID, **options)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    global_batch=st.sampled_from([8, 16, 24]),
    seed=st.integers(0, 3),
    start=st.integers(0, 20),
    pack_tokens=st.sampled_from([None, 800, 1024]),
)
def test_a_global_batch_does_not_depend_on_ranks_or_restarts(
    folder, global_batch, seed, start, pack_tokens
):
    whole = loader(folder, global_batch, seed=seed, epochs=2)
    expected = [
        sorted(zip(batch.sources, batch.sample_ids, strict=True)) for batch in whole.batches()
    ]
    start %= whole.num_steps
    for world_size in (1, 2, 4, 8):
        options = {"seed": seed, "epochs": 2, "world_size": world_size, "pack_tokens": pack_tokens}
        ranks = [loader(folder, global_batch, rank=rank, **options) for rank in range(world_size)]
        # Each rank begins at the step at once, as after a restart.
        shares = [rank.batches(start_step=start) for rank in ranks]
        for step, batches in enumerate(zip(*shares, strict=True), start):
            parts = [list(chain(*rank.rank_packs(step))) for rank in ranks]
            assert sorted(chain(*parts)) == sorted(whole.global_rows(step))
            seen = [zip(batch.sources, batch.sample_ids, strict=True) for batch in batches]
            assert sorted(chain(*seen)) == expected[step]
            if pack_tokens is None:
                assert {len(part) for part in parts} == {global_batch // world_size}
            else:
                assert len({len(batch.packs) for batch in batches}) == 1
        assert step == whole.num_steps - 1


def test_an_epoch_shows_every_row_at_most_once_and_differs_from_the_next(folder):
    one = loader(folder, 8, epochs=2)
    assert (one.steps_per_epoch, one.num_steps) == (6, 12)
    epochs = [[one.global_rows(step + 6 * epoch) for step in range(6)] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(chain(*epoch)) == list(range(48))
    assert epochs[0] != epochs[1]
    assert epochs[0] != [loader(folder, 8, seed=1).global_rows(step) for step in range(6)]


def test_the_incomplete_batch_is_dropped(folder):
    one = loader(folder, 10)
    assert one.num_steps == 4
    assert {len(one.global_rows(step)) for step in range(4)} == {10}


def test_a_set_smaller_than_a_batch_is_taken_whole(folder):
    one = loader(folder, 32, stage="pretrain", epochs=3)
    assert one.num_steps == 3
    assert [len(batch) for batch in one.batches()] == [5, 5, 5]


def test_starting_later_gives_the_same_batches(folder):
    one = loader(folder, 8, epochs=2)
    whole = list(one.batches())
    late = list(loader(folder, 8, epochs=2).batches(start_step=7))
    assert len(whole) == 12
    assert [batch.sample_ids for batch in late] == [batch.sample_ids for batch in whole[7:]]
    for ours, theirs in zip(late, whole[7:], strict=True):
        assert torch.equal(ours.input_ids, theirs.input_ids)
        assert torch.equal(ours.pixels, theirs.pixels)
    assert list(one.batches(start_step=12)) == []


def test_a_batch_is_padded_on_the_right_and_consistent(folder):
    for batch in loader(folder, 8).batches():
        assert batch.input_ids.shape == batch.labels.shape == batch.attention_mask.shape
        assert batch.pixels.dtype == torch.uint8
        assert len(batch.pixels) == int(batch.has_image.sum())
        images = (batch.input_ids == IMAGE_TOKEN_ID).sum(dim=1)
        assert torch.equal(images, batch.has_image * PATCHES)
        lengths = batch.attention_mask.sum(dim=1)
        assert lengths.tolist() == sorted(lengths.tolist(), reverse=True)
        for row, length in enumerate(lengths):
            assert batch.attention_mask[row, :length].all()
            assert (batch.input_ids[row, length:] == PAD_ID).all()
            assert (batch.labels[row, length:] == IGNORE_INDEX).all()
        labelled = batch.labels != IGNORE_INDEX
        assert torch.equal(batch.labels[labelled], batch.input_ids[labelled])
        assert batch.num_supervised == int(labelled.sum())


def test_pixels_belong_to_their_rows(folder):
    one = loader(folder, 5, stage="pretrain")
    for batch in (*one.batches(), one.batch(0)):
        for name, pixels in zip(batch.sample_ids, batch.pixels, strict=True):
            assert torch.equal(
                pixels, torch.from_numpy(load_image(jpeg(int(name)), one.spec.image))
            )


@pytest.mark.parametrize("options", [{"cache_bytes": 0}, {"num_threads": 3}])
def test_caching_and_threads_change_nothing(folder, options):
    plain, other = loader(folder, 8, epochs=2), loader(folder, 8, epochs=2, **options)
    for ours, theirs in zip(plain.batches(), other.batches(), strict=True):
        assert ours.sample_ids == theirs.sample_ids
        assert torch.equal(ours.pixels, theirs.pixels)


@pytest.mark.parametrize("size", [1, 3, 8, 20])
def test_micro_batches_are_the_batch(folder, size):
    batch = loader(folder, 8).batch(0)
    pieces = list(batch.micro_batches(size))
    assert torch.equal(torch.cat([piece.pixels for piece in pieces]), batch.pixels)
    assert sum((piece.sample_ids for piece in pieces), ()) == batch.sample_ids
    assert sum(piece.num_supervised for piece in pieces) == batch.num_supervised
    row = 0
    for piece in pieces:
        width = piece.input_ids.shape[1]
        assert width == int(piece.attention_mask.sum(dim=1).max())
        assert len(piece.pixels) == int(piece.has_image.sum())
        assert torch.equal(piece.input_ids, batch.input_ids[row : row + len(piece), :width])
        row += len(piece)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_packs_are_the_global_batch_within_the_budget(folder, world_size):
    budget = 800
    plain = loader(folder, 8)
    ranks = [
        loader(folder, 8, rank=rank, world_size=world_size, pack_tokens=budget)
        for rank in range(world_size)
    ]
    for step in range(plain.num_steps):
        batches = [one.batch(step) for one in ranks]
        assert sorted(name for batch in batches for name in batch.sample_ids) == sorted(
            plain.batch(step).sample_ids
        )
        assert len({len(batch.packs) for batch in batches}) == 1
        for batch in batches:
            pieces = list(batch.micro_batches(1))
            assert tuple(map(len, pieces)) == tuple(size for size in batch.packs if size)
            assert all(piece.num_tokens <= budget for piece in pieces)
            assert torch.equal(torch.cat([piece.pixels for piece in pieces]), batch.pixels)
            assert sum(piece.num_supervised for piece in pieces) == batch.num_supervised


def test_the_ranks_labels_add_up_to_the_global_number(folder):
    ranks = [loader(folder, 8, rank=rank, world_size=2) for rank in range(2)]
    alone = loader(folder, 8)
    for step in range(alone.num_steps):
        total = sum(rank.batch(step).num_supervised for rank in ranks)
        assert total == alone.batch(step).num_supervised


def test_ranks_that_do_not_divide_the_batch_differ_by_one(folder):
    sizes = [len(loader(folder, 8, rank=rank, world_size=3).rank_packs(0)[0]) for rank in range(3)]
    assert sizes == [3, 3, 2]


@pytest.mark.parametrize(
    "options",
    [{"rank": 2, "world_size": 2}, {"global_batch": 1, "world_size": 2}, {"epochs": 0}],
)
def test_settings_that_make_no_sense_are_refused(folder, options):
    with pytest.raises(ConfigError, match="expected 0 <= rank"):
        loader(folder, **options)


def test_a_start_beyond_the_end_is_refused(folder):
    with pytest.raises(ConfigError, match="beyond the end"):
        loader(folder).batches(start_step=100)


def test_more_ranks_than_rows_is_refused(folder):
    with pytest.raises(DataError, match="cannot feed"):
        loader(folder, 8, stage="pretrain", world_size=8)


def test_images_outside_the_prepared_data_need_their_folder(folder, tmp_path):
    config = PrepareConfig(
        stage="pretrain", image={"size_px": 28}, max_tokens=512, embed_images=False
    )
    prepare(config, folder / "raw", build_tokenizer(), IMAGE_TOKEN_ID, PATCHES, tmp_path)
    one = Loader(tmp_path, 4, PAD_ID)
    elsewhere = Loader(tmp_path, 4, PAD_ID, image_root=folder / "raw")
    embedded = loader(folder, 4, stage="pretrain")
    (rows,) = one.rank_packs(0)
    assert torch.equal(one.batch(0).pixels, elsewhere.batch(0).pixels)
    for row in rows:
        assert np.array_equal(one._pixels(row), embedded._pixels(row))
    with pytest.raises(DataError, match="image_root"):
        Loader(tmp_path, 4, PAD_ID, image_root=tmp_path).batch(0)


def test_leaving_early_ends_the_thread(folder):
    batches = loader(folder, 4, epochs=5).batches()
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_the_incomplete_batch_is_taken_where_all_rows_count(folder):
    for world_size in (1, 2, 4):
        ranks = [
            loader(folder, 20, rank=rank, world_size=world_size, drop_last=False)
            for rank in range(world_size)
        ]
        assert {len(rank) for rank in ranks} == {3}  # 20, 20 and 8 of 48 rows
        seen = [row for rank in ranks for step in range(3) for row in chain(*rank.rank_packs(step))]
        assert sorted(seen) == list(range(48))
    # 47 of 48 rows leave one for 47 + 1 ranks' worth of a batch: too few to share.
    assert len(loader(folder, 47, world_size=2, drop_last=False)) == 1

"""A job's parts: done once, in any order, by other processes, with the same bytes in the end."""

import json
import random

import pytest

from components.core.errors import DataError
from components.data.config import PrepareConfig
from components.data.loader.loader import Loader
from components.data.prepare.work_folder import WorkFolder
from components.data.shards import VALIDATION, ImageReader, RowReader
from tests.data.preparing import CONFIG, files_of, rejects_of, run
from tests.data.samples import jpeg, llava_row, put, write_captions


class Stopped(Exception):
    """Stands for a kill: nothing behind it runs."""


def shuffled(function, tasks):
    order = list(tasks)
    random.Random(3).shuffle(order)
    return map(function, order)


def one_by_one(limit):
    """Run at most so many tasks in all, then stop as a killed process does."""
    left = [limit]

    def run_some(function, tasks):
        for task in tasks:
            if left[0] == 0:
                raise Stopped
            left[0] -= 1
            yield function(task)

    return run_some


def test_parts_may_be_done_in_any_order(raw, tokenizer, tmp_path):
    one = run(raw, tokenizer, tmp_path / "one")
    assert run(raw, tokenizer, tmp_path / "two", run=shuffled) == one
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert not (tmp_path / "one/work").exists()


@pytest.mark.parametrize("done", [0, 1, 5, 11, 12, 13, 18])
def test_an_interrupted_job_goes_on_where_it_was(raw, tokenizer, tmp_path, done):
    whole = run(raw, tokenizer, tmp_path / "whole")
    work = str(tmp_path / "work")
    with pytest.raises(Stopped):
        run(raw, tokenizer, tmp_path / "cut", work_uri=work, run=one_by_one(done))
    counted = []

    def counting(function, tasks):
        counted.extend(tasks)
        return map(function, tasks)

    assert run(raw, tokenizer, tmp_path / "rest", work_uri=work, run=counting) == whole
    assert files_of(tmp_path / "rest") == files_of(tmp_path / "whole")
    # 11 parts are read, 1 of images is checked, 11 of rows are encoded.
    assert len(counted) == 23 - done


def test_a_part_that_was_cut_off_half_way_is_done_again(raw, tokenizer, tmp_path, monkeypatch):
    whole = run(raw, tokenizer, tmp_path / "whole")
    work = str(tmp_path / "work")

    def killed(self, name, result):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "finish", killed)
        with pytest.raises(Stopped):
            run(raw, tokenizer, tmp_path / "cut", work_uri=work)
    assert run(raw, tokenizer, tmp_path / "rest", work_uri=work) == whole


def test_what_another_job_left_is_not_taken(raw, tokenizer, tmp_path):
    work = str(tmp_path / "work")
    run(raw, tokenizer, tmp_path / "one", work_uri=work)
    other = CONFIG.with_(seed=1)
    fresh = run(raw, tokenizer, tmp_path / "fresh", other)
    assert run(raw, tokenizer, tmp_path / "two", other, work_uri=work) == fresh


def test_rows_of_several_files_keep_their_order(tmp_path, tokenizer, monkeypatch):
    raw = tmp_path / "raw"
    write_captions(raw, 23)
    config = PrepareConfig(stage="pretrain", image={"size_px": 28}, max_tokens=512)
    run(raw, tokenizer, tmp_path / "one", config)
    monkeypatch.setattr("components.data.prepare.spool.ROWS_PER_FILE", 4)
    monkeypatch.setattr("components.data.prepare.image_plan.IMAGES_PER_PART", 5)
    run(raw, tokenizer, tmp_path / "many", config, run=shuffled)
    assert len(list((tmp_path / "many").glob("rows-*"))) == 6
    assert len(list((tmp_path / "many").glob("images-*"))) == 5
    for reader in (RowReader, ImageReader):
        one, many = reader(tmp_path / "one"), reader(tmp_path / "many")
        assert len(one) == len(many) == 23
    rows, images = RowReader(tmp_path / "many"), ImageReader(tmp_path / "many")
    for index in range(23):
        row = rows.row(index)
        assert row.id == f"{index:09d}"
        assert images.image(row.image_index).encoded == jpeg(index)


def test_duplicates_are_found_across_files_and_counts_add_up(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr("components.data.prepare.spool.ROWS_PER_FILE", 3)
    raw = tmp_path / "raw"
    rows = [llava_row(f"{n % 7}", None, "What is this?", "a cat") for n in range(16)]
    put(raw / "mine/rows.jsonl", "\n".join(map(json.dumps, rows)))
    put(raw / "mine/more.jsonl", json.dumps({**rows[0], "source": "rows.jsonl"}))
    own = {"sources": (), "own": ("mine/rows.jsonl", "mine/more.jsonl")}
    prepared = run(raw, tokenizer, tmp_path / "out", CONFIG.with_(mixture=own))
    assert (prepared.num_rows, prepared.num_rejected) == (7, 10)
    lines = rejects_of(tmp_path / "out")
    assert [line["index"] for line in lines] == [*range(7, 16), 0]
    assert {line["reason"].split(":")[0] for line in lines} == {"duplicate"}


def test_too_many_bad_rows_stop_before_images_are_read(tmp_path, tokenizer):
    raw = tmp_path / "raw"
    rows = [llava_row(f"{n}", "nowhere.jpg", "<image>\nWhat?") for n in range(30)]
    rows += [llava_row(f"x{n}", f"{n}.jpg", "<image>\nWhat?", "a cat") for n in range(30)]
    put(raw / "mine/rows.json", rows)
    config = CONFIG.with_(mixture={"sources": (), "own": ("mine/rows.json",)})
    done = []

    def counting(function, tasks):
        done.extend(tasks)
        return map(function, tasks)

    with pytest.raises(DataError, match=r"30 of 60 rows .* rows.json\[0\] id=0: the last question"):
        run(raw, tokenizer, tmp_path / "out", config, run=counting)
    assert len(done) == 1
    put(raw / "mine/rows.json", rows[30:])
    with pytest.raises(DataError, match=r"30 of 30 rows .* image mine/0.jpg does not exist"):
        run(raw, tokenizer, tmp_path / "out", config, run=counting)
    assert len(done) == 3


def test_a_part_of_the_rows_is_held_out_by_image(raw, tokenizer, tmp_path):
    whole = run(raw, tokenizer, tmp_path / "whole")
    prepared = run(raw, tokenizer, tmp_path / "out", CONFIG.with_(validation_share=0.3))
    assert 0 < prepared.num_validation < prepared.num_rows
    assert prepared.num_rows + prepared.num_validation == whole.num_rows
    assert prepared.sources == whole.sources
    assert prepared.content_digest != whole.content_digest
    train, held_out = RowReader(tmp_path / "out"), RowReader(tmp_path / "out", VALIDATION)
    assert (len(train), len(held_out)) == (prepared.num_rows, prepared.num_validation)
    sides = [{row.image for row in map(r.row, range(len(r)))} - {None} for r in (train, held_out)]
    assert sides[0] and sides[1] and not sides[0] & sides[1]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["validation"] == prepared.num_validation
    batch = Loader(tmp_path / "out", 4, 0, kind=VALIDATION).batch(0)
    assert len(batch) == min(4, prepared.num_validation)


def test_an_earlier_job_leaves_nothing_behind(raw, tokenizer, tmp_path, monkeypatch):
    fresh = run(raw, tokenizer, tmp_path / "fresh")
    work = str(tmp_path / "work")
    with monkeypatch.context() as patch:
        patch.setattr("components.data.prepare.spool.ROWS_PER_FILE", 1)
        run(raw, tokenizer, tmp_path / "out", CONFIG.with_(validation_share=0.3), work_uri=work)
    kept = files_of(tmp_path / "out")
    assert len(kept) > 20
    assert run(raw, tokenizer, tmp_path / "out") == fresh
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")
    # The files were shared with the work folder, and must not have been written through.
    with monkeypatch.context() as patch:
        patch.setattr("components.data.prepare.spool.ROWS_PER_FILE", 1)
        run(raw, tokenizer, tmp_path / "two", CONFIG.with_(validation_share=0.3), work_uri=work)
    assert files_of(tmp_path / "two") == kept

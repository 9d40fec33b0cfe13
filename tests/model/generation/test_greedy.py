"""Greedy decoding: cached = uncached, batched = one by one, shared beginnings = none shared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from components.core.errors import DataError
from components.data.config import ImageSpec
from components.model.build import LlavaParts
from components.model.checkpoint import Loaded, load_checkpoint, save
from components.model.embed import normalise_pixels
from components.model.generation import greedy as generate
from components.model.generation import prefix_sharing as beginnings
from components.model.generation.greedy import embed_distinct, generate_greedy
from components.model.generation.prefix_sharing import Level

NEW = 12


@pytest.fixture
def loaded(parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path) -> Loaded:
    return load_checkpoint(save(parts.model, parts.tokenizer, tmp_path, image_spec, "vicuna_v1"))


@pytest.fixture
def prompts(loaded: Loaded) -> tuple[list[list[int]], list[Tensor | None]]:
    image = loaded.image_token_id
    pixels = torch.randint(
        0, 256, (2, 3, 28, 28), generator=torch.Generator().manual_seed(5), dtype=torch.uint8
    )
    ids = [
        [1, 270, image, 271, 272],
        [1, 265, 266],
        [1, 280, 281, 282, image, 283, 290, 275],
        [1, image, 268],
        [1, 299, 263, 301, 288],
    ]
    return ids, [pixels[0], None, pixels[1], pixels[0], None]


def greedy(
    loaded: Loaded, ids: list[list[int]], pixels: list[Tensor | None], limit: int
) -> list[list[int]]:
    return generate_greedy(loaded, ids, embed_distinct(loaded, pixels), limit)


def uncached(loaded: Loaded, ids: list[int], image: Tensor | None, limit: int) -> list[int]:
    """The reference: transformers' own forward over the whole row for every token."""
    row = []
    for token in ids:
        row += [token] * (loaded.patches_per_image if token == loaded.image_token_id else 1)
    answer: list[int] = []
    values = (
        None
        if image is None
        else normalise_pixels(image.unsqueeze(0), loaded.image_spec, torch.float32)
    )
    with torch.inference_mode():
        while len(answer) < limit:
            logits = loaded.model(
                input_ids=torch.tensor([row + answer]), pixel_values=values
            ).logits
            token = int(logits[0, -1].argmax())
            if token == loaded.eos_token_id:
                break
            answer.append(token)
    return answer


def test_cached_equals_uncached_and_batched_equals_single(
    loaded: Loaded, prompts: tuple[list[list[int]], list[Tensor | None]]
) -> None:
    ids, pixels = prompts
    reference = [uncached(loaded, row, image, NEW) for row, image in zip(ids, pixels, strict=True)]
    single = [
        greedy(loaded, [row], [image], NEW)[0] for row, image in zip(ids, pixels, strict=True)
    ]
    assert single == reference
    assert greedy(loaded, ids, pixels, NEW) == reference
    assert len({tuple(answer) for answer in reference}) > 1


def test_rows_that_stop_early_leave_the_others_as_they_are(
    loaded: Loaded, prompts: tuple[list[list[int]], list[Tensor | None]]
) -> None:
    ids, pixels = prompts
    free = greedy(replace(loaded, eos_token_id=-1), ids, pixels, NEW)
    assert all(len(answer) == NEW for answer in free)
    stop = free[0][3]
    stopped = greedy(replace(loaded, eos_token_id=stop), ids, pixels, NEW)
    for answer, whole in zip(stopped, free, strict=True):
        assert answer == (whole[: whole.index(stop)] if stop in whole else whole)
    assert len({len(answer) for answer in stopped}) > 1


def test_repeated_image_tokens_are_left_as_they_are(
    loaded: Loaded, prompts: tuple[list[list[int]], list[Tensor | None]]
) -> None:
    ids, pixels = prompts
    image = loaded.image_token_id
    repeated = [ids[0][:2] + [image] * loaded.patches_per_image + ids[0][3:]]
    assert greedy(loaded, repeated, pixels[:1], NEW) == greedy(loaded, ids[:1], pixels[:1], NEW)


def test_images_and_image_tokens_must_agree(
    loaded: Loaded, prompts: tuple[list[list[int]], list[Tensor | None]]
) -> None:
    ids, pixels = prompts
    with pytest.raises(DataError, match="prompt 0: 1 image tokens; expected none"):
        greedy(loaded, ids[:1], [None], NEW)
    with pytest.raises(DataError, match="prompt 0: 0 image tokens; expected 1"):
        greedy(loaded, ids[1:2], pixels[:1], NEW)
    with pytest.raises(DataError, match="5 prompts but 1 entries"):
        greedy(loaded, ids, pixels[:1], NEW)
    assert greedy(loaded, [], [], NEW) == []


@pytest.fixture
def asked(loaded: Loaded) -> tuple[list[list[int]], list[Tensor | None]]:
    """Questions that share a long system sentence, some an image, one no image at all."""
    image, generator = loaded.image_token_id, torch.Generator().manual_seed(9)
    pixels = torch.randint(0, 256, (3, 3, 28, 28), generator=generator, dtype=torch.uint8)
    places = [0, 0, 0, 1, 1, 2, None, 0, 2]
    ids = []
    for number, place in enumerate(places):
        question = torch.randint(262, 300, (3 + number % 3,), generator=generator).tolist()
        ids.append([*range(262, 282), *([] if place is None else [image]), 270, *question])
    # Equal images in other tensors are one image too.
    return ids, [None if place is None else pixels[place].clone() for place in places]


@pytest.mark.parametrize("price", [0, 30])
def test_shared_beginnings_change_no_answer(
    loaded: Loaded,
    asked: tuple[list[list[int]], list[Tensor | None]],
    price: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In float64, where rounding cannot decide between two tokens of random weights."""
    loaded.model.double()
    ids, pixels = asked
    reference = [uncached(loaded, row, image, NEW) for row, image in zip(ids, pixels, strict=True)]
    plain = greedy(loaded, ids, pixels, NEW)
    levels: list[int] = []

    def counted(*args: Any) -> list[Level]:
        found = beginnings.share(*args)
        levels.append(len(found))
        return found

    monkeypatch.setattr(generate, "share", counted)
    monkeypatch.setattr(beginnings, "FORWARD_PRICE", price)
    assert greedy(loaded, ids, pixels, NEW) == plain == reference
    assert levels == [3 if price == 0 else 2]
    assert len({tuple(answer) for answer in reference}) > 3


def test_prefill_gives_the_states_of_single_rows(
    loaded: Loaded,
    asked: tuple[list[list[int]], list[Tensor | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """float64 sums in another order: differences of 1e-12 beside values of size one."""
    loaded.model.double()
    monkeypatch.setattr(beginnings, "FORWARD_PRICE", 0)
    ids, pixels = asked
    with torch.inference_mode():
        images = embed_distinct(loaded, pixels)
        states, _, _ = generate.prefill(loaded, ids, images)
        for state, row, image in zip(states, ids, images, strict=True):
            alone, _, _ = generate.prefill(loaded, [row], [image])
            torch.testing.assert_close(state, alone[0], rtol=0, atol=1e-12)


def test_the_tower_runs_once_per_image(
    loaded: Loaded,
    asked: tuple[list[list[int]], list[Tensor | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    original = generate.image_embeddings

    def counted(model: Any, pixels_NCHW: Tensor, spec: ImageSpec) -> Tensor:
        seen.append(len(pixels_NCHW))
        return original(model, pixels_NCHW, spec)

    monkeypatch.setattr(generate, "image_embeddings", counted)
    greedy(loaded, *asked, NEW)
    assert seen == [3]

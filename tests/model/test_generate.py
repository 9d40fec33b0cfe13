"""Greedy decoding: cached = uncached, batched = one by one, streamed = whole."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from components.core.errors import DataError
from components.data.config import ImageSpec
from components.data.images import normalise
from components.model.build import LlavaParts
from components.model.checkpoint import Loaded, load, save
from components.model.generate import generate_greedy, stream_greedy

NEW = 12


@pytest.fixture
def loaded(parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path) -> Loaded:
    return load(save(parts.model, parts.tokenizer, tmp_path, image_spec, "vicuna_v1"))


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


def uncached(loaded: Loaded, ids: list[int], image: Tensor | None, limit: int) -> list[int]:
    """The reference: transformers' own forward over the whole row for every token."""
    row = []
    for token in ids:
        row += [token] * (loaded.patches_per_image if token == loaded.image_token_id else 1)
    answer: list[int] = []
    values = None if image is None else normalise(image.unsqueeze(0), loaded.image_spec)
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
        generate_greedy(loaded, [row], [image], NEW)[0]
        for row, image in zip(ids, pixels, strict=True)
    ]
    assert single == reference
    assert generate_greedy(loaded, ids, pixels, NEW) == reference
    assert len({tuple(answer) for answer in reference}) > 1


def test_rows_that_stop_early_leave_the_others_as_they_are(
    loaded: Loaded, prompts: tuple[list[list[int]], list[Tensor | None]]
) -> None:
    ids, pixels = prompts
    free = generate_greedy(loaded, ids, pixels, NEW, stop_ids=[])
    assert all(len(answer) == NEW for answer in free)
    stop = free[0][3]
    stopped = generate_greedy(loaded, ids, pixels, NEW, stop_ids=[stop])
    for answer, whole in zip(stopped, free, strict=True):
        assert answer == (whole[: whole.index(stop)] if stop in whole else whole)
    assert len({len(answer) for answer in stopped}) > 1


def test_streamed_equals_whole(
    loaded: Loaded, prompts: tuple[list[list[int]], list[Tensor | None]]
) -> None:
    ids, pixels = prompts
    whole = generate_greedy(loaded, ids, pixels, NEW)
    for row, image, answer in zip(ids, pixels, whole, strict=True):
        assert list(stream_greedy(loaded, row, image, NEW)) == answer


def test_repeated_image_tokens_are_left_as_they_are(
    loaded: Loaded, prompts: tuple[list[list[int]], list[Tensor | None]]
) -> None:
    ids, pixels = prompts
    image = loaded.image_token_id
    repeated = [ids[0][:2] + [image] * loaded.patches_per_image + ids[0][3:]]
    assert generate_greedy(loaded, repeated, pixels[:1], NEW) == generate_greedy(
        loaded, ids[:1], pixels[:1], NEW
    )


def test_pictures_and_image_tokens_must_agree(
    loaded: Loaded, prompts: tuple[list[list[int]], list[Tensor | None]]
) -> None:
    ids, pixels = prompts
    with pytest.raises(DataError, match="prompt 0: 1 image tokens; expected none"):
        generate_greedy(loaded, ids[:1], [None], NEW)
    with pytest.raises(DataError, match="prompt 0: 0 image tokens; expected 1"):
        generate_greedy(loaded, ids[1:2], pixels[:1], NEW)
    with pytest.raises(DataError, match="5 prompts but 1 entries"):
        generate_greedy(loaded, ids, pixels[:1], NEW)
    assert generate_greedy(loaded, [], [], NEW) == []

"""What the loss is compared with: transformers' own forward, one padded sample at a time."""

import copy

import torch
from torch import Tensor

from components.data.config import ImageSpec
from components.data.tokens import IGNORE_INDEX
from components.model.build import LlavaParts, patches_per_image
from components.model.embed import normalise_pixels
from components.model.loss import LossModel, LossOutput

LENGTHS = ((3, 4, 2), (1, 2, 3), (0, 3, 2), (2, 9, 4), (0, 8, 7))
"""Rows: tokens before the image, after it, and how many of the last ones are supervised; a row
without tokens before the image has no image."""


def mixed_batch(parts: LlavaParts, size_px: int = 28) -> dict[str, Tensor]:
    """Five rows of unequal length, three with an image, two of text only."""
    generator = torch.Generator().manual_seed(0)
    image, pad = parts.image_token_id, int(parts.tokenizer.pad_token_id)
    patches = patches_per_image(parts.model.config)
    ids, supervised = [], []
    for before, after, learnt in LENGTHS:
        draw = torch.randint(3, 200, (before + after,), generator=generator).tolist()
        ids.append([*draw[:before], *[image] * (patches if before else 0), *draw[before:]])
        supervised.append(learnt)
    longest = max(map(len, ids)) + 2  # padding behind every row
    batch = {
        "input_ids": torch.full((len(ids), longest), pad),
        "labels": torch.full((len(ids), longest), IGNORE_INDEX),
        "attention_mask": torch.zeros((len(ids), longest), dtype=torch.long),
    }
    for index, (row, learnt) in enumerate(zip(ids, supervised, strict=True)):
        batch["input_ids"][index, : len(row)] = torch.tensor(row)
        batch["labels"][index, len(row) - learnt : len(row)] = torch.tensor(row[-learnt:])
        batch["attention_mask"][index, : len(row)] = 1
    num_images = sum(before > 0 for before, _, _ in LENGTHS)
    batch["pixels"] = torch.randint(
        0, 256, (num_images, 3, size_px, size_px), generator=generator, dtype=torch.uint8
    )
    return batch


def compute_loss(model: LossModel, batch: dict[str, Tensor | None]) -> LossOutput:
    """The loss of a batch."""
    names = ("input_ids", "labels", "attention_mask", "pixels")
    return model(**{name: batch[name] for name in names})


def check_loss_and_gradients(
    parts: LlavaParts, image_spec: ImageSpec, tolerance: float = 1e-5
) -> dict[str, Tensor]:
    """Compare the packed loss and each gradient with the reference; return the gradients by name.

    A gradient may differ by `tolerance` of its norm: both sides sum the same fp32 terms in another
    order. Where a gradient is zero by symmetry only its rounding remains, so it is measured by the
    norm of the largest one.
    """
    batch = mixed_batch(parts, parts.model.config.vision_config.image_size)
    model = copy.deepcopy(parts.model)
    wrapped = LossModel(model, image_spec)
    assert wrapped.packs
    ours = compute_loss(wrapped, batch)
    ours.loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    expected, expected_sum, num_supervised = _one_by_one(parts, image_spec, batch)
    assert ours.num_supervised_tokens == num_supervised
    torch.testing.assert_close(ours.loss_sum, expected_sum, rtol=tolerance, atol=0.0)
    # The dummy image gives parts a zero gradient that a reference without it does not have.
    assert set(expected) == set(gradients)
    largest = max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():
        difference = float((gradients[name] - gradient).norm())
        scale = max(float(gradient.norm()), 1e-3 * largest)
        assert difference <= tolerance * scale, (name, difference, scale)
    return gradients


def _one_by_one(
    parts: LlavaParts, image_spec: ImageSpec, batch: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor, int]:
    """The gradients of the mean loss, the sum of losses and the number of tokens in it."""
    images = iter(batch["pixels"])
    num_supervised = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
    total = torch.zeros(())
    parts.model.zero_grad(set_to_none=True)
    for index in range(len(batch["input_ids"])):
        row = {name: batch[name][index : index + 1] for name in batch if name != "pixels"}
        if (row["input_ids"] == parts.image_token_id).any():
            row["pixel_values"] = normalise_pixels(
                next(images).unsqueeze(0), image_spec, torch.float32
            )
        num_here = int((row["labels"][:, 1:] != IGNORE_INDEX).sum())
        loss_sum = parts.model(**row).loss * num_here
        (loss_sum / num_supervised).backward()
        total += loss_sum.detach()
    gradients = {n: p.grad for n, p in parts.model.named_parameters() if p.grad is not None}
    return gradients, total, num_supervised

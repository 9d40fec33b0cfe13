"""The loss equals that of transformers, and padding, text-only rows and dummy images change
nothing.
"""

import copy

import pytest
import torch
from torch import Tensor

from components.core.errors import DataError
from components.data.config import ImageSpec
from components.data.tokens import IGNORE_INDEX
from components.model.build import LlavaParts
from components.model.embed import image_embeddings, normalise_pixels
from components.model.learning.freeze import freeze_for_stage
from components.model.loss import LossModel
from tests.model.reference import compute_loss

SIZE = 28


def make_batch(parts: LlavaParts, with_text_row: bool = True) -> dict[str, Tensor]:
    """Three padded rows: two with an image, one without."""
    image, pad = parts.image_token_id, int(parts.tokenizer.pad_token_id)
    rows = [
        ([1, 270, image, image, image, image, 271, 272, 273, 2], 7),
        ([1, image, image, image, image, 280, 281, 2], 5),
        ([1, 265, 266, 267, 2], 2),
    ][: 3 if with_text_row else 2]
    longest = max(len(ids) for ids, _ in rows)
    input_ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORE_INDEX)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for index, (ids, start) in enumerate(rows):
        input_ids[index, : len(ids)] = torch.tensor(ids)
        labels[index, start : len(ids)] = torch.tensor(ids[start:])
        mask[index, : len(ids)] = 1
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return {"input_ids": input_ids, "labels": labels, "attention_mask": mask, "pixels": pixels}


@pytest.mark.parametrize("with_text_row", [True, False], ids=["mixed", "images only"])
def test_loss_and_gradients_equal_transformers(
    parts: LlavaParts, image_spec: ImageSpec, with_text_row: bool
) -> None:
    batch = make_batch(parts, with_text_row)
    freeze_for_stage(parts.model, ("connector", "language_model"))
    model = copy.deepcopy(parts.model)
    ours = compute_loss(LossModel(model, image_spec), batch)
    ours.loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    theirs = parts.model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=batch["labels"],
        pixel_values=normalise_pixels(batch["pixels"], image_spec, torch.float32),
    ).loss
    theirs.backward()
    assert ours.num_supervised_tokens == int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
    assert ours.loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    assert ours.loss_sum.item() == pytest.approx(
        theirs.item() * ours.num_supervised_tokens, rel=1e-5
    )
    for name, parameter in parts.model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-4)


def test_image_features_equal_transformers(parts: LlavaParts, image_spec: ImageSpec) -> None:
    pixels = make_batch(parts)["pixels"]
    theirs = parts.model.get_image_features(
        pixel_values=normalise_pixels(pixels, image_spec, torch.float32)
    ).pooler_output
    ours = image_embeddings(parts.model, pixels, image_spec)
    torch.testing.assert_close(ours, torch.stack(list(theirs)), atol=1e-5, rtol=1e-5)


def test_pixels_are_normalised_as_clip_does(image_spec: ImageSpec) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (image_spec.mean, image_spec.std))
    ours = normalise_pixels(pixels, image_spec, torch.float32)
    torch.testing.assert_close(ours, (pixels / 255 - mean) / std, atol=1e-5, rtol=1e-5)


def test_more_padding_changes_nothing(parts: LlavaParts, image_spec: ImageSpec) -> None:
    batch = make_batch(parts)
    fill = {
        "input_ids": int(parts.tokenizer.pad_token_id),
        "labels": IGNORE_INDEX,
        "attention_mask": 0,
    }
    longer = {
        name: torch.nn.functional.pad(batch[name], (0, 7), value=value)
        for name, value in fill.items()
    }
    model = LossModel(parts.model, image_spec)
    short = compute_loss(model, batch).loss
    assert compute_loss(model, {**longer, "pixels": batch["pixels"]}).loss.item() == pytest.approx(
        short.item(), abs=1e-6
    )


def test_one_image_per_row_may_include_unused_ones(
    parts: LlavaParts, image_spec: ImageSpec
) -> None:
    batch = make_batch(parts)
    model = LossModel(parts.model, image_spec)
    per_row = torch.cat([batch["pixels"], torch.full((1, 3, SIZE, SIZE), 7, dtype=torch.uint8)])
    assert torch.equal(
        compute_loss(model, batch).loss, compute_loss(model, {**batch, "pixels": per_row}).loss
    )


def test_text_only_batch_touches_every_part_and_changes_no_loss(
    parts: LlavaParts, image_spec: ImageSpec
) -> None:
    batch = {name: tensor[2:] for name, tensor in make_batch(parts).items() if name != "pixels"}
    freeze_for_stage(parts.model, ("connector", "language_model"))
    theirs = parts.model(**batch).loss
    ours = compute_loss(LossModel(parts.model, image_spec), {**batch, "pixels": None})
    assert ours.loss.item() == pytest.approx(theirs.item(), abs=1e-6)
    ours.loss.backward()
    gradient = parts.model.model.multi_modal_projector.linear_1.weight.grad
    assert gradient is not None and not gradient.any()


def test_batch_without_labels_gives_zero_and_a_gradient(
    parts: LlavaParts, image_spec: ImageSpec
) -> None:
    batch = make_batch(parts)
    batch["labels"][:] = IGNORE_INDEX
    freeze_for_stage(parts.model, ("connector",))
    output = compute_loss(LossModel(parts.model, image_spec), batch)
    output.loss.backward()
    assert (output.loss.item(), output.num_supervised_tokens) == (0.0, 0)


@pytest.mark.parametrize("with_text_row", [True, False], ids=["mixed", "images only"])
def test_no_number_is_read_from_the_device_of_the_model(
    parts: LlavaParts, image_spec: ImageSpec, with_text_row: bool
) -> None:
    """On a GPU each would wait for its queue. Tensors on `meta` have none: reading one raises."""
    freeze_for_stage(parts.model, ("connector", "language_model"))
    model = LossModel(copy.deepcopy(parts.model).to("meta"), image_spec)
    output = compute_loss(model, make_batch(parts, with_text_row))
    output.loss.backward()
    assert output.loss.device.type == "meta"
    with pytest.raises(RuntimeError):
        output.loss.item()


def test_a_missing_image_is_refused(parts: LlavaParts, image_spec: ImageSpec) -> None:
    batch = make_batch(parts)
    with pytest.raises(DataError, match="2 rows of the batch have image tokens but it holds 1"):
        compute_loss(LossModel(parts.model, image_spec), {**batch, "pixels": batch["pixels"][:1]})
    batch["input_ids"][0, 2] = 5
    with pytest.raises(DataError, match="7 image positions but its images give 8"):
        compute_loss(LossModel(parts.model, image_spec), batch)

"""Each connector: same loss as transformers' forward, and clear refusals."""

from pathlib import Path

import pytest
import torch

from components.core.errors import ConfigError
from components.data.config import ImageSpec
from components.model.build import LlavaParts, build_llava, patches_per_image
from components.model.connector_names import parse_connector
from components.model.connectors import connector_of
from components.model.embed import image_embeddings
from components.model.learning.freeze import PARTS, freeze_for_stage
from components.model.loss import LossModel
from components.model.tower import read_tower
from tests.model.reference import check_loss_and_gradients, compute_loss, mixed_batch
from tests.model.tiny_parts import CONNECTORS

POSITIONS = {"resampler3": 3}
_KEY_BIAS = "model.multi_modal_projector.key.bias"
"""Adds the same to every score of a query, which the softmax takes away again."""

every_connector = pytest.mark.parametrize("built", CONNECTORS, indirect=True)


@every_connector
def test_loss_and_gradients_equal_one_sample_at_a_time(
    built: LlavaParts, image_spec: ImageSpec
) -> None:
    freeze_for_stage(built.model, PARTS)
    gradients = check_loss_and_gradients(built, image_spec)
    connector = [n for n, _ in built.model.named_parameters() if "multi_modal_projector" in n]
    assert all(gradients[name].any() for name in connector if name != _KEY_BIAS)


@every_connector
def test_text_only_batches_reach_every_weight_of_the_connector(
    built: LlavaParts, image_spec: ImageSpec
) -> None:
    """With a gradient of zero: under ZeRO-3 all ranks must run the same modules."""
    freeze_for_stage(built.model, ("connector", "language_model"))
    batch = {n: t[[2, 4]] for n, t in mixed_batch(built).items() if n != "pixels"}
    expected = built.model(**batch).loss
    ours = compute_loss(LossModel(built.model, image_spec), {**batch, "pixels": None}).loss
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    ours.backward()
    for parameter in built.model.model.multi_modal_projector.parameters():
        assert parameter.grad is not None and not parameter.grad.any()


@every_connector
def test_connectors_work_in_bfloat16(built: LlavaParts, image_spec: ImageSpec) -> None:
    pixels = mixed_batch(built)["pixels"]
    with torch.inference_mode():
        exact = image_embeddings(built.model, pixels, image_spec)
        rounded = image_embeddings(built.model.to(torch.bfloat16), pixels, image_spec)
    assert rounded.dtype == torch.bfloat16
    # 2^-9 of each value at every one of some twenty operations
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()


@every_connector
def test_every_part_freezes(built: LlavaParts) -> None:
    for part in PARTS[1:]:
        freeze_for_stage(built.model, (part,))
        learns = {n for n, p in built.model.named_parameters() if p.requires_grad}
        assert not any("multi_modal_projector" in name for name in learns)
    if connector_of(built.model.config) == "identity":
        with pytest.raises(ConfigError, match="nothing would learn"):
            freeze_for_stage(built.model, ("connector",))
        return
    trainable = freeze_for_stage(built.model, ("connector",)).trainable
    assert trainable == sum(p.numel() for p in built.model.model.multi_modal_projector.parameters())


@every_connector
def test_prepare_knows_the_number_of_positions_without_weights(
    built: LlavaParts, wide_tower_path: Path
) -> None:
    name = connector_of(built.model.config)
    expected = POSITIONS.get(name, 4)
    assert read_tower(wide_tower_path).patches_per_image("default", name) == expected
    assert patches_per_image(built.model.config) == expected
    assert built.model.config.image_seq_length == expected


@pytest.mark.parametrize(
    "name", ["conv", "mlp", "mlp0x_gelu", "mlp2x_relu", "resampler", "resampler0", "Linear", ""]
)
def test_unknown_names_are_refused_with_the_list(
    name: str, wide_tower_path: Path, language_model_path: Path
) -> None:
    message = "choose from linear, mlp2x_gelu .* identity, resampler256"
    with pytest.raises(ConfigError, match=message):
        build_llava(wide_tower_path, language_model_path, connector=name)
    with pytest.raises(ConfigError, match=message):
        parse_connector(name)


def test_identity_between_other_widths_is_refused(
    vision_tower_path: Path, language_model_path: Path
) -> None:
    with pytest.raises(ConfigError, match="tower gives 16, the language model takes 24"):
        build_llava(vision_tower_path, language_model_path, connector="identity")


def test_one_linear_has_two_names(wide_tower_path: Path, language_model_path: Path) -> None:
    one, other = (
        build_llava(wide_tower_path, language_model_path, connector=name, seed=5).model.state_dict()
        for name in ("linear", "mlp1x_gelu")
    )
    assert list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["linear", "mlp3x_gelu", "resampler3"])
def test_the_seed_alone_decides_a_fresh_connector(
    name: str, wide_tower_path: Path, language_model_path: Path
) -> None:
    states = []
    for seed in (3, 3, 4):
        torch.rand(seed)  # the state of torch's generator does not matter, nor is it changed
        before = torch.get_rng_state()
        parts = build_llava(wide_tower_path, language_model_path, connector=name, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        states.append(parts.model.model.multi_modal_projector.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    random = [key for key, value in states[0].items() if value.unique().numel() > 1]
    assert not any(torch.equal(states[0][key], states[2][key]) for key in random)

"""The connectors' modules by themselves, beside the originals."""

import numpy as np
import pytest
import torch
from torch import nn

from components.core.errors import ConfigError
from components.model.connectors import MlpConnector, Resampler, patch_positions


def test_a_fresh_mlp_equals_the_original_module() -> None:
    """llava/model/multimodal_projector/builder.py: Linear, then GELU and Linear again."""
    torch.manual_seed(0)
    original = nn.Sequential(
        nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 24)
    )
    torch.manual_seed(0)
    ours = MlpConnector(3, 16, 24)
    patches = torch.randn(2, 4, 16)
    assert torch.equal(ours(patches), original(patches))


@pytest.mark.parametrize("num_patches", [9, 10], ids=["grid", "class token and grid"])
def test_resampler_equals_multihead_attention(num_patches: int) -> None:
    """Qwen-VL's `Resampler` (visual.py) is written with torch's module; ours with its parts."""
    torch.manual_seed(0)
    ours = Resampler(5, 16, 256)
    assert ours.num_heads == 2
    theirs = nn.MultiheadAttention(256, 2, batch_first=True)
    linears = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([linear.weight for linear in linears]))
        theirs.in_proj_bias.copy_(torch.cat([linear.bias for linear in linears]))
        theirs.out_proj.weight.copy_(ours.attended.weight)
        theirs.out_proj.bias.copy_(ours.attended.bias)
    patches = torch.randn(3, num_patches, 16)
    states = ours.patches_norm(ours.patches(patches))
    queries = ours.queries_norm(ours.queries_QD).expand(3, -1, -1)
    attended, _ = theirs(queries, states + patch_positions(num_patches, 256), states)
    expected = ours.projection(ours.attended_norm(attended))
    torch.testing.assert_close(ours(patches), expected, atol=1e-5, rtol=1e-5)


def test_positions_equal_the_published_formula() -> None:
    """`get_2d_sincos_pos_embed` of MAE, which Qwen-VL copies: column first, sine before cosine."""
    side, width = 3, 24
    column, row = np.meshgrid(np.arange(side), np.arange(side))  # column runs fastest

    def one_axis(places: np.ndarray) -> np.ndarray:
        omega = 1.0 / 10_000 ** (np.arange(width // 4) / (width / 4.0))
        out = np.einsum("m,d->md", places.reshape(-1), omega)
        return np.concatenate([np.sin(out), np.cos(out)], axis=1)

    expected = torch.tensor(np.concatenate([one_axis(column), one_axis(row)], axis=1))
    ours = patch_positions(side * side, width)
    torch.testing.assert_close(ours.double(), expected, atol=1e-6, rtol=1e-6)
    with_class_token = patch_positions(side * side + 1, width)
    assert not with_class_token[0].any() and torch.equal(with_class_token[1:], ours)


def test_a_resampler_sees_where_patches_lie() -> None:
    torch.manual_seed(0)
    resampler = Resampler(2, 16, 24)
    patches = torch.randn(1, 4, 16)
    moved = patches[:, [1, 0, 2, 3]]
    assert not torch.allclose(resampler(patches), resampler(moved), atol=1e-4)


def test_a_resampler_of_an_odd_width_is_refused() -> None:
    with pytest.raises(ConfigError, match="found 22"):
        Resampler(2, 16, 22)

"""Connectors: the modules that turn the patches of a vision tower into language model positions.

In: a LLaVA configuration with the connector's name. Out: a module from patches [N, P, V] to
positions [N, Q, D], freshly initialised from torch's random state, and the LLaVA that carries it.
Names are read in `connector_names.py`; nothing is loaded or frozen here.

Reference: `linear` is LLaVA (arXiv 2304.08485), `mlp2x_gelu` LLaVA-1.5 (arXiv 2310.03744; llava/
model/multimodal_projector/builder.py at c121f043); `resampler` is the one cross-attention layer of
Qwen-VL (arXiv 2308.12966, 256 queries), kin to the Q-Former of BLIP-2 (arXiv 2301.12597) and
InstructBLIP (arXiv 2305.06500, 32 queries) and the resampler of Flamingo (arXiv 2204.14198).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaConfig, LlavaForConditionalGeneration
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from components.core.errors import ConfigError
from components.model.connector_names import DEFAULT_CONNECTOR, parse_connector

_QUERY_STD = 0.02
"""Spread of fresh queries, as in Qwen-VL (visual.py, `trunc_normal_(self.query, std=.02)`)."""
_HEAD_WIDTH = 128
"""Width of an attention head, as in Qwen-VL (`num_heads=output_dim // 128`)."""
_LARGEST_PERIOD = 10_000.0
"""Base of the sine-cosine positions (MAE, arXiv 2111.06377, `get_2d_sincos_pos_embed`)."""

# Shapes: N images, P patches, V vision width, D model width, Q queries, H heads, W head width


class LlavaWithConnector(LlavaForConditionalGeneration):
    """A LLaVA whose projector is one that transformers does not know.

    `from_pretrained` and `save_pretrained` work as for its parent. The folder's `architectures`
    carry this class's name, so servers that would need another projector refuse it by that name.
    """

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__(config)
        self.model.multi_modal_projector = build_connector(config)

    @classmethod
    def is_custom_code(cls) -> bool:
        """False: to transformers, custom code has weight names of its own; ours are LLaVA's."""
        return False


class MlpConnector(nn.Module):
    """Linears with GELU between them, named as in transformers' projector of two."""

    def __init__(self, num_linears: int, vision_width: int, width: int) -> None:
        super().__init__()
        for index in range(num_linears):
            # torch's default initialisation of nn.Linear, as in the original LLaVA
            linear = nn.Linear(width if index else vision_width, width)
            self.add_module(f"linear_{index + 1}", linear)

    def forward(self, patches_NPV: Tensor) -> Tensor:
        """Return positions [N, P, D]."""
        states = patches_NPV
        for index, linear in enumerate(self.children()):
            states = linear(functional.gelu(states) if index else states)
        return states


class Resampler(nn.Module):
    """Learnt queries that read the patches by one layer of cross-attention.

    As in Qwen-VL, keys know where their patch lies and values do not. Unlike there, queries get no
    positions added: they are learnt, and would learn them.
    """

    def __init__(self, num_queries: int, vision_width: int, width: int) -> None:
        super().__init__()
        if width % 4:
            raise ConfigError(
                f"a resampler needs a language model width that 4 divides (two axes, sine and "
                f"cosine); found {width}; choose another connector"
            )
        most = max(1, width // _HEAD_WIDTH)
        self.num_heads = next(heads for heads in range(most, 0, -1) if width % heads == 0)
        self.queries_QD = nn.Parameter(torch.empty(num_queries, width))
        nn.init.trunc_normal_(self.queries_QD, std=_QUERY_STD)
        self.patches = nn.Linear(vision_width, width, bias=False)
        self.patches_norm = nn.LayerNorm(width)
        self.queries_norm = nn.LayerNorm(width)
        # Linears of their own, not nn.MultiheadAttention: that reads a submodule's weight without
        # calling it, which ZeRO-3, gathering weights where modules are called, does not see.
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attended = nn.Linear(width, width)
        self.attended_norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, width)

    def forward(self, patches_NPV: Tensor) -> Tensor:
        """Return positions [N, Q, D]."""
        patches_NPD = self.patches_norm(self.patches(patches_NPV))
        places_PD = patch_positions(patches_NPD.shape[1], patches_NPD.shape[2], patches_NPD.device)
        key_NPD = self.key(patches_NPD + places_PD.to(patches_NPD.dtype))
        query_QD = self.query(self.queries_norm(self.queries_QD))
        query_NQD = query_QD.expand(len(patches_NPV), -1, -1)
        attended_NHQW = functional.scaled_dot_product_attention(
            self._heads(query_NQD), self._heads(key_NPD), self._heads(self.value(patches_NPD))
        )
        attended_NQD = self.attended(attended_NHQW.transpose(1, 2).flatten(2))
        return self.projection(self.attended_norm(attended_NQD))

    def _heads(self, states_NSD: Tensor) -> Tensor:
        return states_NSD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def build_connector(config: LlavaConfig) -> nn.Module:
    """Return a fresh connector of the kind that the configuration names.

    Raises ConfigError for an unknown name, and for `identity` between parts of unequal width.
    """
    name = connector_of(config)
    if name == DEFAULT_CONNECTOR:
        return LlavaMultiModalProjector(config)
    layers = config.vision_feature_layer
    num_layers = 1 if isinstance(layers, int) else len(layers)
    vision_width = config.vision_config.hidden_size * num_layers
    width = config.text_config.hidden_size
    connector = parse_connector(name)
    if connector.kind == "identity":
        if vision_width != width:
            raise ConfigError(
                f"connector 'identity' needs parts of one width; the vision tower gives "
                f"{vision_width}, the language model takes {width}; choose 'linear' or another"
            )
        return nn.Identity()
    if connector.kind == "resampler":
        return Resampler(connector.count, vision_width, width)
    return MlpConnector(connector.count, vision_width, width)


def connector_of(config: LlavaConfig) -> str:
    """Return the connector's name; a configuration that names none has transformers' own."""
    return getattr(config, "connector", DEFAULT_CONNECTOR)


def llava_class(connector: str) -> type[LlavaForConditionalGeneration]:
    """Return transformers' LLaVA wherever it can express the connector, or ours."""
    return LlavaForConditionalGeneration if connector == DEFAULT_CONNECTOR else LlavaWithConnector


def patch_positions(num_patches: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return sine-cosine positions [P, D] of a square grid of patches in fp32, column then row.

    A class token before the grid has position zero. They are computed anew for each batch (a few
    thousand sines), so that no cast of the model to bf16 rounds them for good.
    """
    side = math.isqrt(num_patches)
    num_before = num_patches - side * side
    assert num_before in (0, 1), f"{num_patches} patches are no square grid"
    quarter = torch.arange(width // 4, dtype=torch.float32, device=device) / (width // 4)
    angle_SF = torch.arange(side, device=device).unsqueeze(1) * _LARGEST_PERIOD**-quarter
    axis_SE = torch.cat([angle_SF.sin(), angle_SF.cos()], dim=1)
    column_SSE = axis_SE.expand(side, -1, -1)
    row_SSE = axis_SE.unsqueeze(1).expand(-1, side, -1)
    grid_PD = torch.cat([column_SSE, row_SSE], dim=2).flatten(0, 1)
    return functional.pad(grid_PD, (0, 0, num_before, 0))

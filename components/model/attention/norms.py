"""The language model's RMS norms in one kernel on a GPU, in one function on a CPU.

In: a language model of transformers. Out: the same one, whose norms in half precision are torch's
`rms_norm`. transformers' own form is six operations on fp32 copies; with their backward passes
they move two fifths of what a step moves beside its matrix products (counted, not timed).
One kernel rounds to half precision once, not twice. On a CPU under bfloat16 autocast they are those
of `cpu_norms.py`. In fp32 nothing changes.
"""

from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.model.attention.cpu_norms import half_norm

FUSABLE = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "Phi3RMSNorm")
"""Classes of transformers with one and the same forward: scaled in fp32, then by the weight."""


def fuse_norms(model: nn.Module) -> int:
    """Let the model's RMS norms run as one kernel where there is one; returns how many may."""
    norms = [module for module in model.modules() if type(module).__name__ in FUSABLE]
    for norm in norms:
        norm.forward = MethodType(_forward, norm)
    return len(norms)


def one_kernel(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Return the normed states; keeps its half-precision input for the backward pass."""
    return functional.rms_norm(states, weight.shape, weight, epsilon)


def _forward(norm: nn.Module, states: Tensor) -> Tensor:
    weight: Tensor = norm.weight
    if _kernel_applies(states, weight):
        return one_kernel(states, weight, norm.variance_epsilon)
    if states.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return half_norm(states, weight, norm.variance_epsilon)
    result: Tensor = type(norm).forward(norm, states)
    return result


def _kernel_applies(states: Tensor, weight: Tensor) -> bool:
    half = states.dtype in (torch.bfloat16, torch.float16)
    return half and states.dtype == weight.dtype and states.device.type == "cuda"

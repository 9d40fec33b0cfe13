"""Exact training of bf16 weights in one process: fp32 masters, gradients and moments.

In: AdamW over the parameters that learn, as `engine.optimizer_for` gives it. Out: an optimizer for
`PlainEngine` that steps fp32 copies and rounds them into the model. What DeepSpeed's bf16 mode
does, without its buckets and partitions; nothing is split over ranks here.

Bytes per parameter: 2 weight, 4 gradient, 4 master, 8 moments: 18, all of them there from the first
step to the last. A step needs no more: torch's fused AdamW works in place.
Reference: mixed precision training (arXiv 1710.03740), section 3.1.
"""

from typing import Any

import torch
from torch import nn


class MasterWeights:
    """AdamW on fp32 copies of parameters; those that are fp32 already are their own copies.

    Autograd adds each micro-batch's gradient to an fp32 sum and keeps none in bf16. The model must
    not be moved or cast afterwards.
    """

    def __init__(self, optimizer: torch.optim.AdamW) -> None:
        self._weights: list[nn.Parameter] = []
        self._masters: list[nn.Parameter] = []
        groups = []
        for group in optimizer.param_groups:
            masters = [_master_of(weight) for weight in group["params"]]
            groups.append({**group, "params": masters, "fused": True})
            self._weights += group["params"]
            self._masters += masters
        self._adam = torch.optim.AdamW(groups, fused=True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of masters, whose learning rates may be set."""
        return self._adam.param_groups

    @torch.no_grad()
    def step(self) -> None:
        """Step the masters by the summed gradients and round them into the model."""
        self._adam.step()
        torch._foreach_copy_(self._weights, self._masters)

    @torch.no_grad()
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients to zero in any case: freed, their memory would break up."""
        torch._foreach_zero_([master.grad for master in self._masters])


def _master_of(weight: nn.Parameter) -> nn.Parameter:
    """Return the fp32 copy, which shares its gradient with the weight."""
    weight.grad_dtype = torch.float32  # torch >= 2.10: gradients are cast to it, then added
    weight.grad = torch.zeros_like(weight, dtype=torch.float32)
    if weight.dtype == torch.float32:
        return weight
    master = nn.Parameter(weight.detach().float())
    master.grad = weight.grad
    return master

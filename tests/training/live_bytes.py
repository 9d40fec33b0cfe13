"""Counts the bytes of tensors that are alive: what autograd saves, and the peak of a step."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.model.attention import norms
from components.model.attention import packed as attention


def use_kernels_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the GPU's kernels for packed rows and norms, which are not there on a CPU.

    They keep what the kernels keep (`torch.nn.attention.varlen`, `_setup_context`: query, key,
    value and output; `_fused_rms_norm`: input) and compute nothing.
    """
    monkeypatch.setattr(attention, "_varlen_applies", lambda *states: True)
    monkeypatch.setattr(
        attention,
        "varlen_rows",
        lambda query, key, value, *others: _Kernel.apply(query, key, value),
    )
    monkeypatch.setattr(norms, "_kernel_applies", lambda *states: True)
    monkeypatch.setattr(norms, "one_kernel", lambda states, weight, _: _Norm.apply(states, weight))


class Saved:
    """The bytes that autograd saves for the backward pass, each once, parameters left out."""

    def __init__(self, model: nn.Module):
        self._own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self._tensors: list[Tensor] = []
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def __enter__(self) -> "Saved":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)

    def bytes(self) -> int:
        storages = [tensor.untyped_storage() for tensor in self._tensors]
        sizes = {each.data_ptr(): each.nbytes() for each in storages}
        return sum(size for place, size in sizes.items() if place not in self._own)

    def _keep(self, tensor: Tensor) -> Tensor:
        self._tensors.append(tensor)
        return tensor


class Peak(TorchDispatchMode):
    """The most bytes alive at once since the last `restart`, of tensors made within.

    Parameters and their gradients are left out; make the gradients before.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        tensors = [t for p in model.parameters() for t in (p, p.grad) if t is not None]
        self._known = {tensor.untyped_storage()._cdata for tensor in tensors}
        self._alive: dict[int, int] = {}
        self._now = self.bytes = 0

    def restart(self) -> None:
        self.bytes = self._now

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        place = storage._cdata
        if place in self._known or place in self._alive:
            return
        self._alive[place] = storage.nbytes()
        self._now += storage.nbytes()
        self.bytes = max(self.bytes, self._now)
        weakref.finalize(storage, self._free, place)

    def _free(self, place: int) -> None:
        self._now -= self._alive.pop(place, 0)


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.clone()
        ctx.save_for_backward(query, key, value, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, key, value, _ = ctx.saved_tensors
        return gradients[0].clone(), torch.zeros_like(key), torch.zeros_like(value)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(states, weight)
        return states.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0].clone(), torch.zeros_like(ctx.saved_tensors[1])

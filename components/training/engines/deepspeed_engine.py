"""The DeepSpeed engine behind the `Engine` protocol, started fast and without a compiler.

In: a module with its loss, the stage's settings, an initialised torch.distributed group. Out: an
engine for `loop.train_step`, and access to whole (unsplit) weights and Adam moments by name, which
is what makes checkpoints independent of the number of workers. DeepSpeed is imported only inside
functions here: importing it costs seconds.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from components.training.config import StageConfig
from components.training.engines.deepspeed_config import deepspeed_config
from components.training.engines.engine import SummedLoss, optimizer_for, set_learning_rate
from components.training.workers.imports import hidden

if TYPE_CHECKING:
    from components.data.loader.loader import Batch
    from components.training.checkpoints.checkpointing import SavedState

MOMENTS = ("exp_avg", "exp_avg_sq")
_STATE = (("weight", None), *((moment, moment) for moment in MOMENTS))
"""Kind of a piece and DeepSpeed's name for it."""


def import_deepspeed(use_gpu: bool) -> Any:
    """Import DeepSpeed for this kind of device, without what it does not need here.

    Three costs are avoided. Its autotuner imports mlflow when there is one (1.3 s of 1.7 s; nothing
    else in DeepSpeed uses it). Its Muon optimizer, which it imports to ask whether ours is one,
    wraps three functions with torch.compile, which imports torch's compiler (1.3 s): they stay
    plain. Its gloo backend compiles a shared-memory extension on first use, which serves inference
    only and would need g++ on every node: it is declared unavailable.
    """
    if "deepspeed" in sys.modules:
        return sys.modules["deepspeed"]
    if not use_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    with hidden("mlflow"):
        deepspeed = importlib.import_module("deepspeed")
    _import_muon_uncompiled()
    if not use_gpu:
        # Assigned whole: reading it would probe every extension with compiler subprocesses.
        deepspeed.ops.__compatible_ops__ = {}
    return deepspeed


class DeepSpeedEngine:
    """A DeepSpeed ZeRO engine: the steps of torch's optimizer, split over the ranks."""

    def __init__(
        self, module: SummedLoss, config: StageConfig, world_size: int, names: dict[int, str]
    ):
        """`names` gives each parameter (by `id`) its name in the model, for checkpoints."""
        deepspeed = import_deepspeed(config.uses_gpu)
        optimizer = optimizer_for(module, config)
        num_trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            config=deepspeed_config(config, world_size, num_trainable),
            dist_init_required=False,
        )
        self._world_size = world_size
        self._zero_stage = config.zero_stage
        self._learning = {names[id(p)]: p for p in module.parameters() if p.requires_grad}

    @property
    def device(self) -> torch.device:
        """Device the batches must be on."""
        return self._engine.device

    def accumulate(self, piece: "Batch", scale: float, last: bool) -> Tensor:
        """Run forward and backward on `scale` times the summed loss; return the rows' sums."""
        self._engine.set_gradient_accumulation_boundary(last)
        loss, row_sums = self._engine(piece)
        # DeepSpeed averages gradients over ranks; the loss is already a global mean, so undo that.
        self._engine.backward(loss * (scale * self._world_size), scale_wrt_gas=False)
        return row_sums

    def evaluate(self, piece: "Batch") -> Tensor:
        """Return the rows' sums of the token loss without learning from them."""
        self._engine.eval()
        with torch.no_grad():
            _, row_sums = self._engine(piece)
        self._engine.train()
        return row_sums

    def apply(self, learning_rate: float) -> float:
        """Clip, step the optimizer, clear the gradients; return the norm before clipping."""
        set_learning_rate(self._optimizer, learning_rate)
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return float("nan") if norm is None else float(norm)

    def parameter_names(self) -> list[str]:
        """Return the names of the parameters that learn, in the model's order."""
        return list(self._learning)

    def whole(self, name: str) -> dict[str, Tensor]:
        """Return one parameter in fp32 with its Adam moments, gathered; every rank must call it."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        parameter = self._learning[name]
        parts = {"weight": safe_get_full_fp32_param(parameter)}
        for moment in MOMENTS:
            parts[moment] = safe_get_full_optimizer_state(parameter, moment)
        return {key: value.detach().view(self.shape(name)) for key, value in parts.items()}

    def piece(self, name: str) -> tuple[int, dict[str, Tensor]] | None:
        """Return the piece of a parameter that this rank holds: its offset in the flattened whole,
        and the flat fp32 weight and Adam moments; None where it holds none. Asks no other rank.
        """
        parameter = self._learning[name]
        if self._zero_stage == 3:
            zero, part = self._engine.optimizer, parameter.ds_tensor.numel()
            offset = part * torch.distributed.get_rank()
            # The last piece is padded, so that all are equally long.
            size = min(part, self.shape(name).numel() - offset)
            if size <= 0:
                return None
            held = {kind: zero.get_local_fp32_param(parameter, key) for kind, key in _STATE}
            return offset, {kind: tensor.narrow(0, 0, size) for kind, tensor in held.items()}
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        held = {kind: mapping.get_hp_fragment(key) for kind, key in _STATE}
        return mapping.lp_fragment_address.start, held

    def whole_weight(self, name: str) -> Tensor:
        """Return one parameter in fp32, gathered; every rank must call it."""
        from deepspeed.utils import safe_get_full_fp32_param

        return safe_get_full_fp32_param(self._learning[name]).detach().view(self.shape(name))

    def shape(self, name: str) -> torch.Size:
        """Return the unsplit shape of a parameter."""
        parameter = self._learning[name]
        return torch.Size(getattr(parameter, "ds_shape", parameter.shape))

    def restore_optimizer(self, state: "SavedState") -> None:
        """Put back the fp32 weights and Adam moments of a checkpoint.

        The module's own weights must have been loaded before the engine was made. Works at any
        number of workers: each rank cuts its own part out of the whole tensors.
        """
        zero = self._engine.optimizer
        if self._zero_stage == 3:
            flats = list(zero.fp32_partitioned_groups_flat)
        else:
            flats = list(zero.single_partition_of_fp32_groups)
        for flat in flats:
            # torch makes these at the first step; a resumed optimizer needs them before it.
            zero.optimizer.state[flat] = {
                "step": torch.tensor(float(state.progress.step), dtype=torch.float32),
                **{moment: torch.zeros_like(flat) for moment in MOMENTS},
            }
        if self._zero_stage != 3:
            zero._lazy_init_hp_params_optimizer_state()
        for name, parameter in self._learning.items():
            self._set_local(parameter, state.tensor("weight", name), None)
            for moment in MOMENTS:
                self._set_local(parameter, state.tensor(moment, name), moment)

    def _set_local(self, parameter: Any, whole: Tensor, moment: str | None) -> None:
        from deepspeed.utils import (
            safe_set_full_fp32_param,
            safe_set_full_optimizer_state,
            safe_set_local_fp32_param,
            safe_set_local_optimizer_state,
        )

        value = whole.to(self.device, torch.float32).flatten()
        if self._zero_stage == 3:
            # Every rank holds an equal part of the flattened tensor; the last one is padded. (The
            # whole-tensor setter does not pad, so it fails where the ranks do not divide the size.)
            part = parameter.ds_tensor.numel()
            value = torch.nn.functional.pad(value, (0, part * self._world_size - value.numel()))
            value = value.narrow(0, part * torch.distributed.get_rank(), part)
            if moment is None:
                safe_set_local_fp32_param(parameter, value)
            else:
                safe_set_local_optimizer_state(parameter, value, moment)
        elif moment is None:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, moment)


def _import_muon_uncompiled() -> None:
    from deepspeed.runtime import compiler

    compile_function = compiler.compile
    compiler.compile = lambda: compiler.dummy_decorator
    try:
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    finally:
        compiler.compile = compile_function

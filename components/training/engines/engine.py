"""What takes a stage's forward, backward and optimizer steps.

In: a module that gives the loss of a batch. Out: the `Engine` that `loop.train_step` drives, and
the optimizer that it steps. DeepSpeed's engine is in `deepspeed_engine.py`.
"""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from components.core.errors import TrainingError

if TYPE_CHECKING:
    from components.data.loader.loader import Batch
    from components.training.config import StageConfig

RATE_SCALE = "rate_scale"
"""What a parameter group's learning rate is multiplied by."""
_CONNECTOR = "multi_modal_projector."


class Engine(Protocol):
    """A module with an optimizer that can accumulate gradients and apply them."""

    def accumulate(self, piece: "Batch", scale: float, last: bool) -> Tensor:
        """Run forward and backward on `scale` times the summed token loss; return the rows' sums.

        They stay on the device, [B]: reading them at once would wait for it.
        """
        ...

    def evaluate(self, piece: "Batch") -> Tensor:
        """Return the rows' sums of the token loss, [B], without learning from them."""
        ...

    def apply(self, learning_rate: float) -> float:
        """Clip, step the optimizer, clear the gradients; return the norm before clipping."""
        ...


class SummedLoss(nn.Module):
    """The model with its loss: maps a batch to the *sum* of its supervised tokens' losses.

    A module, because ZeRO-3 gathers weights in the hooks of the outermost module's forward. Under
    `autocast` the matrix products run in bfloat16 while weights and optimizer stay fp32: on a CPU
    with instructions for it that is faster than DeepSpeed's bf16 mode and keeps Adam exact.
    """

    def __init__(self, loss_module: nn.Module, autocast: bool = False):
        super().__init__()
        self.loss_module = loss_module
        self._autocast = autocast

    def forward(self, batch: "Batch") -> tuple[Tensor, Tensor]:
        """Return the summed token loss, a scalar in fp32, and the same by row without a graph."""
        kind = next(self.loss_module.parameters()).device.type  # the batch may be on the CPU yet
        with torch.autocast(kind, dtype=torch.bfloat16) if self._autocast else nullcontext():
            output = self.loss_module(
                batch.input_ids, batch.labels, batch.attention_mask, batch.pixels
            )
        return output.loss_sum.float(), output.row_sums


def optimizer_for(module: nn.Module, config: "StageConfig") -> torch.optim.Optimizer:
    """Return AdamW over the parameters that learn; only matrices decay (as Hugging Face does)."""
    scale = 1.0
    if config.connector_learning_rate is not None:
        scale = config.connector_learning_rate / config.learning_rate
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim >= 2 else 0.0
            kind = (decay, scale if _CONNECTOR in name else 1.0)
            groups.setdefault(kind, []).append(parameter)
    if not groups:
        raise TrainingError("no parameter is set to learn; name at least one part in `train`")
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, RATE_SCALE: rate_scale}
            for (decay, rate_scale), parameters in groups.items()
        ],
        lr=0.0,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every parameter group this learning rate, scaled as the group says."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get(RATE_SCALE, 1.0)

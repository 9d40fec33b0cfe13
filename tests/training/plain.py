"""Training without DeepSpeed and without ranks: what the real engine and collective must equal."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.data.loader.batch import Batch
from components.training.engines.engine import SummedLoss, set_learning_rate
from tests.training.master_weights import MasterWeights


class PlainEngine:
    """The engine of one process without DeepSpeed: torch's optimizer and nothing else.

    Weights in bf16 want `MasterWeights` around it.
    """

    def __init__(
        self,
        module: SummedLoss,
        optimizer: torch.optim.Optimizer | MasterWeights,
        gradient_clipping: float,
    ):
        self.module = module
        self._optimizer = optimizer
        self._clipping = gradient_clipping
        self._parameters = [p for p in module.parameters() if p.requires_grad]

    def accumulate(self, piece: Batch, scale: float, last: bool) -> Tensor:
        """Run forward and backward on `scale` times the summed loss; return the rows' sums."""
        loss, row_sums = self.module(piece)
        (loss * scale).backward()
        return row_sums

    def evaluate(self, piece: Batch) -> Tensor:
        """Return the rows' sums of the token loss without learning from them."""
        self.module.eval()
        with torch.no_grad():
            _, row_sums = self.module(piece)
        self.module.train()
        return row_sums

    def apply(self, learning_rate: float) -> float:
        """Clip, step the optimizer, clear the gradients; return the norm before clipping."""
        # clip_grad_norm_ scales by limit / (norm + 1e-6), as DeepSpeed does; no limit is infinity.
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clipping or float("inf"))
        set_learning_rate(self._optimizer, learning_rate)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm.item()


class Alone:
    """The collective of a single process."""

    world_size = 1

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the values as they are."""
        return list(values)

    def agree(self, error: Exception | None) -> Exception | None:
        """Return the error itself."""
        return error

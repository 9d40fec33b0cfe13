"""The ranks of a stage: how they find each other, and their small agreements.

In: a Ray Train worker's context. Out: an initialised torch.distributed group and the `Collective`
of `loop.train_step`: sums of numbers, and whether anyone is in trouble. Large tensors never pass
here; DeepSpeed moves those.
"""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

# A rank that dies closes its sockets and the others fail at once; this is for one that hangs.
_TIMEOUT = timedelta(minutes=30)

Value = TypeVar("Value")


class AcrossRanks:
    """The collective of the ranks of a torch.distributed group."""

    def __init__(self, device: torch.device):
        self.rank = distributed.get_rank()
        self.world_size = distributed.get_world_size()
        self.agreed: Exception | None = None
        """The last error all ranks agreed on."""
        self.device = device

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return each value summed over all ranks; every rank must call it equally often."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    def agree(self, error: Exception | None) -> Exception | None:
        """Return the first error that any rank brings, the same on all of them, or None."""
        errors: list[Exception | None] = [None] * self.world_size
        distributed.all_gather_object(errors, error)
        self.agreed = next((found for found in errors if found is not None), None)
        return self.agreed

    def least_gpu_bytes(self) -> int:
        """Return the memory of the smallest GPU of any rank, 0 on CPUs; every rank must call it."""
        if self.device.type != "cuda":
            return 0
        held = torch.tensor(torch.cuda.get_device_properties(self.device).total_memory)
        held = held.to(self.device)
        distributed.all_reduce(held, distributed.ReduceOp.MIN)
        return int(held)

    def first(self, value: Value) -> Value:
        """Return what rank 0 holds."""
        held = [value]
        distributed.broadcast_object_list(held, src=0, device=self.device)
        return held[0]


def join_ranks(use_gpu: bool) -> AcrossRanks:
    """Start the process group of this Ray Train run and return its collective."""
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero

    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    address = broadcast_from_rank_zero(_free_address() if rank == 0 else None)
    # DeepSpeed and torch look these up in the environment.
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "MASTER_ADDR": address[0],
        "MASTER_PORT": str(address[1]),
    }
    device = torch.device("cpu")
    if use_gpu:
        # Ray shows each worker only its own GPUs.
        device = torch.device("cuda", 0)
        torch.cuda.set_device(device)
        os.environ["LOCAL_RANK"] = "0"
    distributed.init_process_group(
        "nccl" if use_gpu else "gloo", rank=rank, world_size=world_size, timeout=_TIMEOUT
    )
    return AcrossRanks(device)


def leave_ranks() -> None:
    """Close the process group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _free_address() -> tuple[str, int]:
    import ray.util

    with socket.socket() as probe:
        probe.bind(("", 0))
        return ray.util.get_node_ip_address(), probe.getsockname()[1]

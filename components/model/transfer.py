"""Tensors on their way from the CPU to the model's device, without waiting for that device.

In: a tensor, a device. Out: the tensor there. What a step must know of its batch (lengths, places
of images and supervised tokens) is read from tensors that are still on the CPU: read from a GPU,
each such number would wait until the work queued there is done.
"""

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return the tensor on the device; a copy to a GPU goes on beside the caller.

    It goes by pinned memory: from memory that may be paged out, a copy of more than 64 KB waits for
    the GPU's queue.
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)

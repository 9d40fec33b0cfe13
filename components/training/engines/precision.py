"""In what precision a CPU multiplies.

In: the settings of a stage and the processor at hand. Out: whether its products run in bfloat16. On
a GPU weights are bfloat16 themselves, which is not decided here.
"""

from components.training.config import StageConfig

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""What torch calls x86's products of bfloat16."""


def autocasts(config: StageConfig) -> bool:
    """Return whether a stage's products run in bfloat16 under autocast on this processor.

    Only where it has instructions for them, as few laptops do. Without them fp32 is exact, and many
    times faster: samples/s of the tiny finetune stage on two cores of a Xeon, oneDNN held to the
    instructions of lesser processors, in bfloat16: AMX 81, AVX-512 with bfloat16 46, AVX-512
    without 21, AVX2 3; in fp32 59, with AVX2 alone 45.
    """
    import torch

    if config.precision != "bf16" or config.uses_gpu:
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _INSTRUCTIONS)

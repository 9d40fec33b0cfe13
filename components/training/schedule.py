"""Learning rate over the optimizer steps: linear warm-up, then half a cosine down to zero.

The formulas are those of Hugging Face's `get_cosine_schedule_with_warmup`, which the original
used: the first step runs at zero, warm-up takes ceil(ratio * steps) steps. A pure function of the
step, so that a resumed run needs no scheduler state.
"""

import math


def warmup_steps(num_steps: int, warmup_ratio: float) -> int:
    """Return how many of the steps warm up."""
    return math.ceil(num_steps * warmup_ratio)


def learning_rate(step: int, num_steps: int, warmup_ratio: float, peak: float) -> float:
    """Return the learning rate of optimizer step `step` (counted from 0)."""
    warmup = warmup_steps(num_steps, warmup_ratio)
    if step < warmup:
        return peak * step / max(1, warmup)
    progress = (step - warmup) / max(1, num_steps - warmup)
    return peak * max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))

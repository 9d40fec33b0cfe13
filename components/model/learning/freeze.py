"""Which parts of a LLaVA model learn in a stage.

In: a model and part names. Out: `requires_grad` set on every parameter, and the counts.
Reference: LLaVA-1.5 trains the connector alone in stage 1, connector and language model in stage 2.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn
from transformers import LlavaForConditionalGeneration

from components.core.errors import ConfigError


class Trainable(NamedTuple):
    """Numbers of parameters."""

    trainable: int
    total: int


PARTS = ("connector", "language_model", "vision_tower")


def part_modules(model: LlavaForConditionalGeneration) -> dict[str, list[nn.Module]]:
    """Return the modules of each named part; the output head belongs to the language model."""
    return {
        "connector": [model.model.multi_modal_projector],
        "language_model": [model.model.language_model, model.lm_head],
        "vision_tower": [model.model.vision_tower],
    }


def freeze_for_stage(
    model: LlavaForConditionalGeneration, train: Sequence[str] = ("connector",)
) -> Trainable:
    """Let exactly the named parts learn and return the parameter counts.

    Raises ConfigError for an unknown or an empty list of parts, or parts without any parameter.
    """
    unknown = sorted(set(train) - set(PARTS))
    if unknown or not train:
        raise ConfigError(f"train={list(train)!r}: expected one or more of {', '.join(PARTS)}")
    model.requires_grad_(False)
    modules = part_modules(model)
    for part in train:
        for module in modules[part]:
            module.requires_grad_(True)
    counts = count_parameters(model)
    if not counts.trainable:
        raise ConfigError(
            f"train={list(train)!r}: these parts have no parameters, so nothing would learn "
            "(connector 'identity' has none); name another part too, or choose another connector"
        )
    return counts


def count_parameters(model: nn.Module) -> Trainable:
    """Return how many parameters learn, and how many there are."""
    total = sum(parameter.numel() for parameter in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Trainable(trainable, total)

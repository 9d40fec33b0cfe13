"""LoRA on the linear layers of the language model, and its merge into ordinary weights.

In: a LLaVA model, frozen as its stage asks. Out: the same model with adapters that learn, or, after
the merge, an ordinary LLaVA again, with the weight names of one that never had any. Tower,
connector, embeddings and output head never get adapters. Nothing is read or written here.

Reference: LoRA (arXiv 2106.09685); llava/train/train.py at c121f043, `find_all_linear_names`. That
one names layers by their last part, which PEFT matches anywhere: so CLIP's q_proj, k_proj and
v_proj got adapters too (haotian-liu/LLaVA issue 1647). Here PEFT is shown the language model alone.
"""

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from components.core.errors import CheckpointError, ConfigError
from components.model.learning.lora_settings import LoraSettings

TOLERANCE = 1e-4
"""Largest allowed distance of merged from unmerged logits, relative to the norm of these.

Both compute (W + sBA)x, the one in a single product, so in fp32 they differ by the rounding of
sums: 6e-7 for 2 layers of width 24, 1.1e-6 for 16 layers of width 512 (random Llamas, CPU,
2026-11-26). Faults are far larger: an adapter that is left out or added twice moves the logits as
much as training did. (In 16 bits rounding alone moves them by 2e-3 to 2e-2 and would hide that.)"""

_PARITY_ROWS, _PARITY_TOKENS = 2, 16


def add_lora(model: LlavaForConditionalGeneration, settings: LoraSettings, seed: int) -> list[str]:
    """Give the language model's linear layers adapters; return the adapters' parameter names.

    The adapters learn, the weights of language model and output head do not; tower and connector
    stay as they are, so freeze for the stage first. Adapters start from the seed, and from zero in
    effect: the first logits are those of the model without them. Names are the same in every run.
    Raises ConfigError when there are adapters already, or no linear layer to adapt.
    """
    from peft import LoraConfig, inject_adapter_in_model

    language_model = model.model.language_model
    if has_lora(language_model):
        raise ConfigError("the language model has LoRA adapters already; merge_lora them first")
    targets = [
        name for name, module in language_model.named_modules() if isinstance(module, nn.Linear)
    ]
    if not targets:
        raise ConfigError(
            f"{type(language_model).__name__} has no nn.Linear layers, so LoRA has nothing to "
            "adapt; train the language model in full, or take a Llama, Mistral or Qwen model"
        )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        bias="none",
        target_modules=targets,
    )
    with torch.random.fork_rng(devices=[]):  # PEFT draws on the CPU, wherever the model is
        torch.manual_seed(seed)
        inject_adapter_in_model(config, language_model)
    model.lm_head.requires_grad_(False)
    adapted = list(_adapted_layers(language_model))
    assert adapted == targets, f"PEFT adapted {adapted}, not {targets}"
    return [name for name, p in model.named_parameters() if ".lora_" in name and p.requires_grad]


@torch.no_grad()
def merge_lora(model: LlavaForConditionalGeneration) -> None:
    """Add the adapters to the weights they adapt and take them out of the model.

    Round to bf16 afterwards, not before: there a change below 2^-9 of a weight would vanish.
    Raises CheckpointError when there are no adapters or they are not in fp32, when their product is
    not finite, or when the merged model gives other logits than the adapters gave; the model is
    then neither the one nor the other and not to be used.
    """
    language_model = model.model.language_model
    layers = _adapted_layers(language_model)
    if not layers:
        raise CheckpointError(
            "the model has no LoRA adapters to merge: it was merged already, or add_lora was not "
            "called; add the adapters and load their weights first"
        )
    if (dtype := language_model.dtype) != torch.float32:
        raise CheckpointError(
            f"the language model is in {dtype}; LoRA merges in torch.float32 only, as rounding "
            "hides small changes of a weight; load the model in float32 and round it afterwards"
        )
    before = _logits(model)
    for name, layer in layers.items():
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:  # PEFT's word for NaN or infinity
            raise CheckpointError(
                f"the LoRA adapter of {name} cannot be merged ({error}); training diverged: "
                "start from an earlier checkpoint"
            ) from error
        language_model.set_submodule(name, layer.get_base_layer())
    del language_model.peft_config  # PEFT's mark on a model with adapters
    _check_parity(before, _logits(model))


def has_lora(model: nn.Module) -> bool:
    """Return whether the model has adapters that are not merged."""
    return any(".lora_A." in name for name, _ in model.named_parameters())


def _adapted_layers(language_model: nn.Module) -> dict[str, nn.Module]:
    """The layers with adapters by their names, in the model's order."""
    from peft.tuners.lora import LoraLayer

    return {n: layer for n, layer in language_model.named_modules() if isinstance(layer, LoraLayer)}


def _logits(model: LlavaForConditionalGeneration) -> Tensor:
    """Logits of a few random tokens, without dropout."""
    generator = torch.Generator().manual_seed(0)
    num_tokens = model.config.text_config.vocab_size
    ids_BS = torch.randint(num_tokens, (_PARITY_ROWS, _PARITY_TOKENS), generator=generator)
    was_training = model.training
    model.eval()
    logits_BSV = model(input_ids=ids_BS.to(model.device), use_cache=False).logits
    model.train(was_training)
    return logits_BSV


def _check_parity(before_BSV: Tensor, after_BSV: Tensor) -> None:
    distance = float((after_BSV - before_BSV).norm() / before_BSV.norm())
    if not distance <= TOLERANCE:  # also when it is not a number
        raise CheckpointError(
            f"the merged model's logits are {distance:.2e} of their norm away from those with "
            f"adapters; expected at most {TOLERANCE:.0e}; keep the adapters' checkpoint and report "
            "this, for the merge is at fault"
        )

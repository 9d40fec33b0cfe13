"""The numbers of scripts/v1_5 of haotian-liu/LLaVA at c121f043, as the recipes carry them."""

import pytest

from components.data.mixture.published import PUBLISHED_ROWS
from workflows.recipes import get_recipe

STAGE1 = {
    "learning_rate": 1e-3, "global_batch": 256, "micro_batch": 32, "zero_stage": 2,
    "train": ("connector",), "template": "plain", "lora": None,
}  # fmt: skip
STAGE2 = {
    "learning_rate": 2e-5, "global_batch": 128, "micro_batch": 16, "zero_stage": 3,
    "train": ("connector", "language_model"), "template": "vicuna_v1", "lora": None,
}  # fmt: skip
BOTH = {
    "epochs": 1, "warmup_ratio": 0.03, "weight_decay": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999,
    "adam_epsilon": 1e-8, "gradient_clipping": 1.0, "precision": "bf16", "seed": 42,
    "num_workers": 8, "activation_checkpointing": True,
}  # fmt: skip


def values_of(stage, names):
    return {name: getattr(stage, name) for name in names}


@pytest.mark.parametrize("name", ["llava15_7b", "llava15_13b"])
def test_the_stages_are_those_of_the_scripts(name):
    recipe = get_recipe(name)
    assert values_of(recipe.pretrain, STAGE1 | BOTH) == STAGE1 | BOTH
    assert values_of(recipe.finetune, STAGE2 | BOTH) == STAGE2 | BOTH
    assert (recipe.pretrain_data.image.aspect, recipe.finetune_data.image.aspect) == ("crop", "pad")
    assert recipe.finetune_data.max_tokens == recipe.pretrain_data.max_tokens == 2048
    assert name.removeprefix("llava15_") in recipe.base.language_model
    limits = recipe.finetune_data.mixture.limits
    assert limits["ocrvqa"] == PUBLISHED_ROWS["ocrvqa"] == 80_000


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_lora_changes_what_its_script_changes(size):
    plain, lora = get_recipe(f"llava15_{size}"), get_recipe(f"llava15_{size}_lora")
    stage = lora.finetune
    assert (stage.learning_rate, stage.connector_learning_rate) == (2e-4, 2e-5)
    assert (stage.lora.rank, stage.lora.alpha, stage.lora.dropout) == (128, 256, 0.05)
    same = {"learning_rate": 2e-5, "connector_learning_rate": None, "lora": None}
    assert stage.with_(**same) == plain.finetune
    assert lora.pretrain == plain.pretrain
    assert lora.registry.model_name != plain.registry.model_name


def test_one_gpu_learns_the_same():
    plain, one = get_recipe("llava15_7b"), get_recipe("llava15_7b_h200x1")
    for stage in ("pretrain", "finetune"):
        ours, theirs = getattr(one, stage), getattr(plain, stage)
        assert ours.num_workers == 1
        free = [
            name
            for name, field in type(ours).model_fields.items()
            if (field.json_schema_extra or {}).get("identity", True)
        ]
        assert values_of(ours, free) == values_of(theirs, free)

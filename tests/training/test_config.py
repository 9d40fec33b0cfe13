"""The settings of a stage: identity, fast import."""

import subprocess
import sys

from components.training.config import BasePaths, StageConfig
from tests.training.tiny import stage


def identity_free(kind: type) -> set[str]:
    return {
        name
        for name, field in kind.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
        and field.json_schema_extra.get("identity") is False
    }


def test_only_what_changes_the_result_is_identity():
    assert identity_free(StageConfig) == {
        "micro_batch",
        "pack_tokens",
        "zero_stage",
        "activation_checkpointing",
        "num_workers",
        "num_cpus_per_worker",
        "num_gpus_per_worker",
        "loader_threads",
        "image_cache_bytes",
        "validate_every_steps",
        "hang_timeout_s",
        "checkpoint_every_steps",
        "checkpoint_every_s",
        "check_memory",
        "keep_checkpoints",
        "max_failures",
        "log_every_steps",
    }
    assert identity_free(BasePaths) == {"vision_tower_path", "language_model_path"}


def test_every_field_is_explained():
    for kind in (StageConfig, BasePaths):
        assert not [name for name, field in kind.model_fields.items() if not field.description]


def test_the_caller_and_the_config_import_nothing_heavy():
    heavy = ["torch", "transformers", "deepspeed", "ray", "mlflow"]
    code = (
        "import sys, components.training.config, components.training.trainer;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_stage_says_what_it_waits_for(monkeypatch):
    import ray

    from components.training.planning.room import waits_for

    config = stage(num_workers=2, num_cpus_per_worker=0.75)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 1.0})
    assert waits_for(config, 0.0).startswith("waits for 1.5 CPU (1 free)")
    replies = iter([{"CPU": 1.0}, {"CPU": 1.5}])
    monkeypatch.setattr(ray, "available_resources", lambda: next(replies))
    assert waits_for(config, 5.0) == ""

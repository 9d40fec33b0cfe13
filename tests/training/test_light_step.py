"""The training step needs torch and transformers alone, as on a machine lent for a benchmark."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ABSENT = ("pydantic", "ray", "deepspeed", "mlflow", "pyarrow", "peft")
STEP = (
    "components.data.loader.batch",
    "components.data.loader.packing",
    "components.model.attention.packed",
    "components.model.connectors",
    "components.model.embed",
    "components.model.sizes.flops",
    "components.model.learning.freeze",
    "components.model.loss",
    "components.model.sizes.shapes",
    "components.training.engines.engine",
    "components.training.loop",
)


def test_the_step_is_imported_where_only_torch_and_transformers_are() -> None:
    lines = [
        "import importlib, sys",
        f"sys.modules.update(dict.fromkeys({ABSENT!r}))",  # None: the import fails
        f"for name in {STEP!r}: importlib.import_module(name)",
    ]
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]

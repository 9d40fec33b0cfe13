"""Data that were prepared for another model are refused before the first step."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from components.core.errors import ConfigError
from components.training.config import BasePaths, StageConfig
from components.training.materials import Materials


def test_data_of_another_template_are_refused(materials: Materials, config: StageConfig) -> None:
    with pytest.raises(ConfigError, match=r"template='vicuna_v1', but finetune works with 'plain'"):
        materials.open_model(config.with_(template="plain"))


def test_samples_beyond_the_positions_of_the_language_model_are_refused(
    materials: Materials, base: BasePaths, config: StageConfig, tmp_path: Path
) -> None:
    """Where rotary positions grow with the longest row, a loss would depend on its neighbours."""
    folder = shutil.copytree(base.language_model_path, tmp_path / "language_model")
    values = json.loads((folder / "config.json").read_text())
    for positions in (512, 511):  # the data hold samples of up to 512
        (folder / "config.json").write_text(
            json.dumps({**values, "max_position_embeddings": positions})
        )
        short = replace(materials, start=base.with_(language_model_path=str(folder)))
        if positions == 512:
            short.open_model(config)
            continue
        with pytest.raises(ConfigError, match=r"max_tokens=512, but .* has 511 positions"):
            short.open_model(config)

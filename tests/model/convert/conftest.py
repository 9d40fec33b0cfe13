"""A folder of ours, and folders as others publish them."""

import shutil
from pathlib import Path

import pytest
import torch

from components.data.config import ImageSpec
from components.model.build import LlavaParts
from components.model.checkpoint import save
from components.model.convert.export import Layout, export_model
from components.model.convert.small_files import SIDE_FOLDER
from tests.model.convert.contents import Foreign


@pytest.fixture
def folder(parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path) -> Path:
    """A folder of ours in bf16, as a stage leaves it."""
    parts.model.to(torch.bfloat16)
    extra = {"stage": "finetune"}
    return save(parts.model, parts.tokenizer, tmp_path / "model", image_spec, "plain", extra)


@pytest.fixture
def foreign(folder: Path, tmp_path: Path) -> Foreign:
    """Folders as others publish them: nothing of ours in them."""

    def write(layout: Layout) -> Path:
        path = export_model(folder, tmp_path / f"llava-{layout}", layout)
        shutil.rmtree(path / SIDE_FOLDER)
        return path

    return write

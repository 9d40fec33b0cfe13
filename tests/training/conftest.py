"""A tiny base, tiny prepared data and a small stage: the real parts, small enough for seconds."""

from pathlib import Path

import pytest

from components.model.sizes.shapes import LlavaShapes
from components.training.config import BasePaths, StageConfig
from components.training.materials import Materials
from tests.training.full_size import shapes_under_clip
from tests.training.tiny import stage, write_base, write_prepared


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BasePaths:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, base: BasePaths) -> Path:
    """Folders `pretrain` (24 captions) and `finetune` (48 rows, some without an image)."""
    return write_prepared(tmp_path_factory.mktemp("prepared"), base)


@pytest.fixture
def materials(base: BasePaths, prepared: Path) -> Materials:
    return Materials(base, str(prepared / "finetune"))


@pytest.fixture
def config() -> StageConfig:
    return stage()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> LlavaShapes:
    """LLaVA-1.5 7B; a Llama's defaults are its sizes."""
    root = tmp_path_factory.mktemp("sizes")
    (root / "language").mkdir()
    (root / "language" / "config.json").write_text('{"model_type": "llama"}')
    return shapes_under_clip(root)

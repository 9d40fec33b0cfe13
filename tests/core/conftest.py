"""A store of each kind."""

from pathlib import Path

import pytest

from components.core.store import Store
from tests.conftest import BUCKET


@pytest.fixture(params=["local", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "local":
        return Store(str(tmp_path / "store"), str(tmp_path / "cache"))
    if request.param == "s3":
        request.getfixturevalue("s3_environment")
        return Store(f"s3://{BUCKET}/{tmp_path.name}", str(tmp_path / "cache"))
    return Store(f"memory://{tmp_path.name}", str(tmp_path / "cache"))

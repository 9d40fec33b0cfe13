"""Fixtures of the data floor's tests."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.data.samples import build_tokenizer, write_captions, write_mixture

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw folder with 6 captions and four images' worth of each mixture source."""
    root = tmp_path / "raw"
    write_captions(root)
    write_mixture(root)
    return root

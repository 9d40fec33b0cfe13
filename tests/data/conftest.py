"""Fixtures of the data floor's tests."""

import os
from typing import Any

import pytest

from tests.data.samples import build_tokenizer

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return build_tokenizer()

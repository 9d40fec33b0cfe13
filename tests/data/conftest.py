"""Fixtures of the data floor's tests."""

from typing import Any

import pytest

from tests.data.samples import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return build_tokenizer()

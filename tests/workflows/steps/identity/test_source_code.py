"""Digests of source code: comments do not count, everything that runs does."""

import sys
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import ConfigError
from workflows.steps.identity.source_code import function_digest, module_digests, source_digest

PROGRAM = '''import os

# why
def f(x):
    """Says something.

    More.
    """
    return f"{x}  # no comment"  # a comment
'''


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda text: text.replace("# why\n", "# another reason\n\n\n"), True),
        (lambda text: text.replace("  # a comment", ""), True),
        (lambda text: text.replace("\n", "\r\n"), True),
        (lambda text: text.replace("# no comment", "# no"), False),
        (lambda text: text.replace("something.\n\n", "something.\n"), False),
        (lambda text: text.replace("return", "return 1 +"), False),
        (lambda text: text.replace("    return", "  return"), False),
    ],
    ids=["comment", "trailing", "line ends", "in a text", "blank line in a text", "code", "indent"],
)
def test_what_counts(change: Any, same: bool) -> None:
    assert (source_digest(change(PROGRAM)) == source_digest(PROGRAM)) is same


def test_text_that_is_no_python_counts_whole() -> None:
    assert source_digest("def (:\n# a") != source_digest("def (:\n# b")


def test_a_package_stands_for_its_modules_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sample_house" / "rooms"
    package.mkdir(parents=True)
    for path in (package.parent / "__init__.py", package / "__init__.py"):
        path.write_text("")
    (package / "kitchen.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = module_digests(["sample_house.rooms"])
    assert list(before) == ["sample_house.rooms", "sample_house.rooms.kitchen"]
    assert module_digests(["sample_house.rooms.kitchen"]).items() <= before.items()
    (package / "kitchen.py").write_text("changed = True\n")
    after = module_digests(["sample_house.rooms"])
    assert {name for name in before if before[name] != after[name]} == {
        "sample_house.rooms.kitchen"
    }
    assert "sample_house.rooms.kitchen" not in sys.modules


@pytest.mark.parametrize("name", ["components.no_such_room", "no_such_house.room"])
def test_an_unknown_module_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="declared code module"):
        module_digests([name])


def test_a_function_counts_by_its_own_source() -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 2

    assert function_digest(one) != function_digest(two)
    with pytest.raises(ConfigError, match="has no source file"):
        function_digest(len)

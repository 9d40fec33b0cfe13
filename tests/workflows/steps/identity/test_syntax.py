"""What counts of source: all that runs, no words. Equal digests in every Python version."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workflows.steps.identity import syntax
from workflows.steps.identity.syntax import tree_digest, without_words

ROOT = Path(__file__).parents[4]

PROGRAM = '''"""A program."""
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# why
class Settings(Config):
    """Settings."""

    rate: float = 2e-5
    """Peak rate."""

    @property
    def shown(self) -> str:
        return f"{self.rate:.3g} of {os.name}"

def work(rows: list[str], limit: int = 3, *, deep=True) -> int:
    """Works."""
    found: int = 0
    for row in rows:
        if not row and limit < 4:
            raise DataError(f"row {row!r}: empty", "mend it")
        found += len(row) * limit
    log.info("found %d", found)
    assert found, "nothing was found"
    trouble = TrainingError("so it is")
    return found if deep else -found
'''


def digest(source: str) -> str:
    return tree_digest(without_words(source))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why", "# another reason\n"),
        ('"""A program."""', ""),
        ('"""Settings."""', '"""Better words."""'),
        ('"""Peak rate."""', '"""Highest rate."""'),
        ('"""Works."""', "pass"),
        ("rows: list[str], limit: int = 3", "rows, limit: Limit=3"),
        (" -> int:", " -> 'Count':"),
        ("found: int = 0", "found = 0"),
        ("    from pathlib import Path", "    from pathlib import PurePath, Path"),
        ('f"row {row!r}: empty", "mend it"', '"an empty row", f"at {row}"'),
        ('"found %d"', '"there are %d"'),
        ('"nothing was found"', 'f"nothing in {rows}"'),
        ('"so it is"', '"so it was"'),
        ("len(row) * limit", "(len(row)\n            * limit)"),
        ('f"{self.rate:.3g} of {os.name}"', "f'{self.rate:.3g} ' f'of {os.name}'"),
    ],
)
def test_words_and_layout_do_not_count(old: str, new: str) -> None:
    assert old in PROGRAM
    assert digest(PROGRAM.replace(old, new)) == digest(PROGRAM)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("limit < 4", "limit <= 4"),
        ("limit < 4", "limit < 4.0"),
        ("not row and", "not row or"),
        ("+= len", "-= len"),
        ("len(row) * limit", "limit * len(row)"),
        ("limit: int = 3", "limit: int = 4"),
        ("*, deep=True", "deep=True"),
        ("deep=True", "deep=False"),
        ("rate: float", "rate: int"),
        ("2e-5", "2e-6"),
        ("    @property\n", ""),
        ("    def shown(self) -> str", "    def shown(self) -> int"),
        (":.3g}", ":.4g}"),
        (" of {os", " in {os"),
        ("import os", "import posix as os"),
        ("DataError(", "ConfigError("),
        ("class Settings(Config)", "class Settings"),
        ("-found", "found"),
        ("    def shown", "    async def shown"),
        ("for row in rows", "for row in rows[1:]"),
        ("    log.info", "    found = 0\n    log.info"),
        ("    assert found,", "    assert not found,"),
    ],
)
def test_whatever_runs_counts(old: str, new: str) -> None:
    assert old in PROGRAM
    assert digest(PROGRAM.replace(old, new)) != digest(PROGRAM)


def test_the_order_of_statements_counts() -> None:
    assert digest("a = 1\nb = a") != digest("b = a\na = 1")
    assert digest("def f(): return 1, 2") != digest("def f(): return 2, 1")


def test_no_file_of_a_floor_changes_when_it_is_formatted_anew() -> None:
    """`ast.unparse` drops comments and writes each line its own way."""
    for path in sorted(ROOT.glob("components/evaluation/**/*.py")):
        source = path.read_text(encoding="utf-8")
        assert digest(ast.unparse(ast.parse(source))) == digest(source), path


def test_every_python_here_gives_the_same_digests() -> None:
    """The module needs the standard library alone, so any interpreter can run it."""
    paths = sorted(map(str, ROOT.glob("workflows/**/*.py")))
    program = (
        "import runpy, sys\n"
        f"syntax = runpy.run_path({syntax.__file__!r})\n"
        f"for path in {paths!r}:\n"
        "    source = open(path, encoding='utf-8').read()\n"
        "    print(syntax['tree_digest'](syntax['without_words'](source)))\n"
    )
    expected = [digest(Path(path).read_text(encoding="utf-8")) for path in paths]
    for minor in (11, 12, 13, 14):
        python = shutil.which(f"python3.{minor}")
        # A shim of a version manager is there for versions that are not.
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            done = subprocess.run([python, "-c", program], capture_output=True, text=True)
            assert done.stdout.split() == expected, (sys.version, python, done.stderr)

"""What the pages say is so: links lead somewhere, files and functions exist, commands parse.

In: the README, docs/, CONTRIBUTING, the READMEs of infra/. Out: the place that is not so. Commands
are read by the real command line; those that cost nothing are run.
"""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from workflows.cli import app
from workflows.recipes import RECIPES, get_recipe

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.splitlines()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES += sorted(ROOT.glob("infra/*/README.md"))
OF_THE_REPO = {name.split("/")[0] for name in TRACKED if "/" in name}
ANY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
# Files are looked for when a page names them with one of these endings and without a folder.
SOURCE_FILES = (".py", ".yaml", ".yml", ".Dockerfile", ".toml", ".svg")
RUNNABLE = ("lavaflow --help", "lavaflow recipes", "lavaflow plan tiny")
README_LINES, README_COLUMNS = 130, 120
MAX_IMAGE_BYTES = 300_000


class Block(NamedTuple):
    """A fenced block: its language, its text, the number of its first line."""

    language: str
    text: str
    line: int


@ANY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for text, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            lost.append(f"[{text}]({target})")
    assert not lost


def test_every_page_is_reached_from_the_index() -> None:
    for index in (ROOT / "README.md", ROOT / "docs" / "README.md"):
        linked = {
            (index.parent / target).resolve()
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(index))
        }
        missing = set(ROOT.glob("docs/*.md")) - linked - {ROOT / "docs" / "README.md"}
        assert not missing, f"{index} does not link {sorted(path.name for path in missing)}"


def test_every_image_is_shown_and_small() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", prose(page))
    }
    files = set((ROOT / "docs" / "images").iterdir())
    assert files == shown
    assert max(file.stat().st_size for file in files) < MAX_IMAGE_BYTES
    for file in files:
        if file.suffix == ".svg":
            ElementTree.parse(file)


@ANY_PAGE
def test_files_and_names_in_backticks_exist(page: Path) -> None:
    lost = []
    for span in spans(page):
        path, _, name = span.partition(":")
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", path) and path.split("/")[0] in OF_THE_REPO:
            found = [ROOT / path] if (ROOT / path).exists() else []
        elif re.fullmatch(r"[\w.-]+", path) and path.endswith(SOURCE_FILES):
            found = [ROOT / one for one in TRACKED if Path(one).name == path]
        else:
            continue
        if not found or (name and name not in defined(found[0])):
            lost.append(span)
    assert not lost


def test_the_tree_of_the_architecture_is_the_tree() -> None:
    blocks = fenced(ROOT / "docs" / "architecture.md")
    (tree,) = [one.text for one in blocks if one.text.startswith("components/\n")]
    listed: set[str] = set()
    above: list[str] = []
    for line in tree.splitlines():
        name = line.split()[0]
        above = [*above[: (len(line) - len(line.lstrip())) // 2], name.rstrip("/")]
        path = "/".join(above)
        assert (ROOT / path).exists(), f"{path} is in the tree of docs/architecture.md alone"
        listed.add(path)
    packages = {str(Path(name).parent) for name in TRACKED if name.endswith("/__init__.py")}
    wanted = {name for name in packages if name.count("/") <= 2 and "pocket/" not in name}
    assert not wanted - listed, f"not in the tree of docs/architecture.md: {wanted - listed}"


@ANY_PAGE
def test_commands_are_those_of_the_command_line(page: Path) -> None:
    for line in command_lines(page):
        words = shlex.split(line, comments=True)[1:]
        try:
            check_command(words)
        except Exception as error:  # of the parser, or of a recipe
            raise AssertionError(f"{page.name}: {line}: {error}") from error


@ANY_PAGE
def test_commands_within_sentences_name_what_exists(page: Path) -> None:
    for span in spans(page):
        if span.startswith("lavaflow "):
            try:
                check_command(shlex.split(span)[1:])
            except Exception as error:  # of the parser's many kinds; all but one go on
                # A sentence may leave an argument out, but no option may be unknown.
                if type(error).__name__ != "MissingParameter":
                    raise
        elif span.startswith("--set ") and "KEY" not in span:
            get_recipe("llava15_7b", [shlex.split(span)[1]])
        elif span.startswith("make "):
            (target,) = (word for word in span.split()[1:] if "=" not in word)
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), span


@ANY_PAGE
def test_python_blocks_compile(page: Path) -> None:
    for block in fenced(page):
        if block.language == "python":
            compile(block.text, f"{page}:{block.line}", "exec")


@pytest.mark.parametrize("line", RUNNABLE)
def test_what_costs_nothing_is_run(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(line in page.read_text(encoding="utf-8") for page in PAGES), "stands on no page"
    monkeypatch.setenv("LAVAFLOW_HOME", str(tmp_path))
    result = CliRunner().invoke(app, line.split()[1:])
    assert result.exit_code == 0, result.output
    # All commands of the help's panels, all recipes, all steps of a plan.
    expected = {"--help": "promote", "recipes": "llava15_7b", "plan": "prepare-pretrain"}
    assert expected[line.split()[1]] in result.output


def test_the_example_of_bad_rows_is_what_data_check_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = fenced(ROOT / "docs" / "data.md")
    (rows,) = [one.text for one in blocks if one.language == "json"]
    (shown,) = [one.text for one in blocks if one.text.startswith("$ lavaflow data check")]
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(rows)
    Image.new("RGB", (40, 30)).save("cat.png")
    command, _, expected = shown.partition("\n")
    result = CliRunner().invoke(app, shlex.split(command)[2:], env={"COLUMNS": "100"})
    assert result.exit_code == 1
    written = {line.strip() for line in result.output.splitlines()}
    # The frame of the table may look otherwise elsewhere; its words may not.
    assert {line.strip() for line in expected.splitlines() if line[:1].isalnum()} <= written
    (reason,) = re.findall(r"(image dog.png .*?) +\W", expected)
    assert reason in result.output


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= README_LINES
    assert max(map(len, lines)) <= README_COLUMNS


def test_docstrings_name_no_page_that_is_not_here() -> None:
    # `x.md of owner/repository` is somebody else's page; a name in quotes is a file that we write.
    named = re.compile(r"(?<![\"'\w/.-])[\w/.-]+\.md\b(?!\s+of\s+[\w-]+/\w)")
    found = []
    for name in TRACKED:
        if name.endswith(".py") and (ROOT / name).is_file():
            text = (ROOT / name).read_text(encoding="utf-8")
            lost = [one for one in named.findall(text) if one not in TRACKED]
            found += [f"{name}: {one}" for one in lost if name != "tests/house/test_docs.py"]
    assert not found


def fenced(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    blocks: list[Block] = []
    language, begun, lines = "", 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif begun:
            blocks.append(Block(language, "\n".join(lines) + "\n", begun))
            begun = 0
        else:
            language, begun, lines = line[3:].strip(), number + 1, []
    assert not begun, f"{page}: a block is not closed"
    return blocks


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def spans(page: Path) -> list[str]:
    """Return what stands in backticks, on one line or over a line's end."""
    return [" ".join(one.split()) for one in re.findall(r"`([^`]+)`", prose(page))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def defined(path: Path) -> set[str]:
    """Return the names that a source file defines: functions, methods, classes, constants."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def command_lines(page: Path) -> Iterator[str]:
    """Yield the lines of fenced blocks that call lavaflow, continued ones joined."""
    for block in fenced(page):
        for line in block.text.replace("\\\n", " ").splitlines():
            if re.match(r"(\$ )?lavaflow ", line):
                yield line.removeprefix("$ ")


def check_command(words: list[str]) -> None:
    """Read words as the command line does, without running anything; recipes take the values."""
    command: Any = typer.main.get_command(app)
    if words in (["--help"], ["-h"]):
        return
    context = command.make_context("lavaflow", list(words))
    rest = [*context._protected_args, *context.args]
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None, f"no command {name}"
        context = command.make_context(name, list(rest), parent=context)
        rest = [*context._protected_args, *context.args]
    recipe = context.params.get("recipe")
    if recipe in RECIPES:
        get_recipe(recipe, context.params.get("assignments") or [])
    else:
        assert recipe in (None, "RECIPE", "tiny_base"), f"no recipe {recipe}"

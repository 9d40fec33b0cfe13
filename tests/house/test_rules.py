"""The rules of the house that a linter cannot see. In: the tracked files. Out: the place that
breaks a rule.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("components/**/*.py"), *ROOT.glob("workflows/**/*.py")])
FORBIDDEN_MODULE_NAMES = {"utils", "helpers", "common", "manager"}
# Schema modules are imported by the command line before anything else: they must stay light.
HEAVY = (
    *("torch", "transformers", "ray", "mlflow", "deepspeed", "fastapi", "pyarrow", "pandas"),
    *("scipy", "jinja2"),
)


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_is_ascii_and_names_its_thing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    strange = [line for line in text.splitlines() if not line.isascii()]
    assert not strange, f"{path}: not ASCII: {strange[:2]}"
    assert path.stem not in FORBIDDEN_MODULE_NAMES
    tree = ast.parse(text)
    if path.name != "__init__.py":
        assert ast.get_docstring(tree), f"{path} has no module docstring"


def test_environment_variables_are_read_in_workflows_only() -> None:
    # Setting a library's switch is allowed; reading one's own settings from the environment is not.
    reading = re.compile(r"os\.getenv|os\.environ\.get\(|os\.environ\[[^\]]+\](?!\s*=)")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "components")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if reading.search(line)
    ]
    assert not found, f"environment variables read below workflows/: {found}"


def test_no_path_of_a_machine_is_committed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    private = re.compile(r"(/home/[a-z]|/root/|/work/|/Users/)")
    found = []
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".png", ".safetensors"} or name == "tests/house/test_rules.py":
            continue
        if private.search(path.read_text(encoding="utf-8", errors="ignore")):
            found.append(name)
    assert not found, f"paths of a machine in {found}"


def test_ray_is_never_started_without_an_address() -> None:
    """Without one Ray joins a cluster of anybody on this machine whose address it finds on disk."""
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in [*SOURCES, *ROOT.glob("tests/**/*.py")]
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "ray.init"
        and not call.args
        and "address" not in {keyword.arg for keyword in call.keywords}
    ]
    assert not found, f"ray.init without an address: {found}"


def test_the_flat_import_names_are_ours() -> None:
    owners = packages_distributions()
    for name in ("components", "workflows"):
        assert set(owners.get(name, ["lavaflow"])) == {"lavaflow"}, (
            f"another distribution also provides the package {name!r}: {owners[name]}; uninstall it"
        )


def test_the_command_line_starts_light() -> None:
    code = f"import sys, workflows.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]", f"importing workflows.cli loads {result.stdout.strip()}"


def test_every_place_names_the_same_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minors = [
        int(one.rpartition(".")[2]) for one in project["classifiers"] if "Python :: 3." in one
    ]
    first, last = minors[0], minors[-1]
    assert minors == list(range(first, last + 1))
    assert project["requires-python"] == f">=3.{first},<3.{last + 1}"
    makefile = (ROOT / "Makefile").read_text()
    assert f"for p in {' '.join(f'python3.{minor}' for minor in minors)} python3;" in makefile
    assert f"(3, {first}) <= sys.version_info[:2] <= (3, {last})" in makefile
    assert f"from 3.{first} to 3.{last}" in makefile
    assert f"Python 3.{first} to 3.{last}" in (ROOT / "README.md").read_text()


def test_make_passes_over_a_python_that_does_not_fit(tmp_path: Path) -> None:
    def write(name: str, line: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)

    def make(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [str(shutil.which("make")), f"VENV={tmp_path}/venv", *words]
        environment = {"PATH": str(tmp_path)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    write("python3.11", "exit 1")  # as a shim of pyenv, or a Python without ensurepip
    refused = make("setup")
    assert refused.returncode != 0
    assert "lavaflow needs a Python from 3.11" in refused.stdout
    write("python3", f'exec {sys.executable} "$@"')
    assert make("--eval", "chosen: ; @: ; echo $(PYTHON)", "chosen").stdout == "python3\n"

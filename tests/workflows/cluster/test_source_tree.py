"""What a cluster is sent: the two packages as git sees them, never more than it takes."""

import subprocess
from pathlib import Path

import pytest

from components.core.errors import ClusterError
from workflows.cluster import source_tree
from workflows.cluster.source_tree import project_root, runtime_environment, source_files


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with tracked, new, ignored, deleted and foreign files."""
    (tmp_path / ".gitignore").write_text("*.log\n__pycache__/\n")
    for name in (
        "components/core/store.py",
        "components/core/__pycache__/store.pyc",
        "components/gone.py",
        "workflows/recipes/tiny.py",
        "workflows/run.log",
        "tests/test_store.py",
        "README.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    (tmp_path / "components/gone.py").unlink()
    (tmp_path / "workflows/new recipe.py").write_text("not added yet")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def test_tracked_and_new_files_of_the_packages_are_sent(checkout: Path) -> None:
    assert source_files(checkout) == [
        "components/core/store.py",
        "workflows/new recipe.py",
        "workflows/recipes/tiny.py",
    ]


def test_the_environment_holds_copies_and_is_removed_afterwards(checkout: Path) -> None:
    with runtime_environment({"KEY": "value"}, root=checkout) as environment:
        folder = Path(environment["working_dir"])
        sent = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        assert sent == source_files(checkout)
        assert (folder / "components/core/store.py").read_text() == "components/core/store.py"
        assert environment["env_vars"] == {"KEY": "value"}
    assert not folder.exists()


def test_without_git_all_files_but_caches_are_sent(tmp_path: Path) -> None:
    for name in ("components/a.py", "components/__pycache__/a.pyc", "workflows/b.json", "c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert source_files(tmp_path) == ["components/a.py", "workflows/b.json"]


def test_too_much_is_refused_with_the_largest_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "components/weights.bin").write_bytes(b"x" * 5000)
    monkeypatch.setattr(source_tree, "MAX_BYTES", 4000)
    with (
        pytest.raises(ClusterError, match=r"Largest: components/weights.bin \(5.0 kB\)"),
        runtime_environment(root=checkout),
    ):
        pass


def test_an_installed_wheel_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_tree, "project_root", lambda: None)
    with runtime_environment({"KEY": "value"}) as environment:
        assert environment == {"env_vars": {"KEY": "value"}}
    with runtime_environment() as environment:
        assert environment == {}


def test_this_checkout_fits() -> None:
    root = project_root()
    assert root is not None
    assert "workflows/cluster/source_tree.py" in source_files(root)
    with runtime_environment() as environment:
        assert (Path(environment["working_dir"]) / "components/core/errors.py").is_file()

"""The code that a Ray cluster is given: the sources of this project, packed small, or nothing.

In: the checkout that this process runs from. Out: a Ray `runtime_env`. In development its
`working_dir` is the two packages as git sees them (tracked and new files, not ignored ones);
installed as a wheel there is nothing to send, because the cluster's image holds the wheel as well.
"""

import contextlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.core.errors import ClusterError
from components.core.logs import format_bytes

log = logging.getLogger(__name__)

PACKAGES = ("components", "workflows")
MAX_BYTES = 100 * 2**20
"""Largest upload. Ray's own limit is somewhere above, and is reported as a broken connection."""


def project_root() -> Path | None:
    """Return the checkout that this process runs from, or None for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else None


@contextlib.contextmanager
def runtime_environment(
    env_vars: Mapping[str, str] | None = None, root: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the `runtime_env` for a cluster elsewhere; hand it to Ray inside the block.

    Raises ClusterError when the sources are larger than Ray takes, naming the largest files.
    """
    environment: dict[str, Any] = {"env_vars": dict(env_vars)} if env_vars else {}
    root = root or project_root()
    if root is None:
        yield environment
        return
    files = source_files(root)
    _check_size(root, files)
    with tempfile.TemporaryDirectory(prefix="lavaflow-code-") as folder:
        for name in files:
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
        yield {**environment, "working_dir": folder}


def source_files(root: Path) -> list[str]:
    """List the files of the two packages, relative to the root: what git tracks or would track."""
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        *PACKAGES,
    ]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
        names = {name for name in listed.decode().split("\0") if name}
    except (OSError, subprocess.CalledProcessError):
        log.info("%s is no git checkout; all files of %s are sent", root, " and ".join(PACKAGES))
        found = (path for package in PACKAGES for path in (root / package).rglob("*"))
        names = {str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts}
    # A file that git tracks may have been deleted in the working tree.
    return sorted(name for name in names if (root / name).is_file())


def _check_size(root: Path, files: list[str]) -> None:
    sizes = {name: (root / name).stat().st_size for name in files}
    total = sum(sizes.values())
    if total <= MAX_BYTES:
        return
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:5]
    named = ", ".join(f"{name} ({format_bytes(sizes[name])})" for name in largest)
    raise ClusterError(
        f"the sources in {root} have {format_bytes(total)}; a cluster takes at most "
        f"{format_bytes(MAX_BYTES)}. Largest: {named}. Move them out of {' and '.join(PACKAGES)} "
        "or "
        "add them to .gitignore"
    )

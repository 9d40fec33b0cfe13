"""The work folder of a long job: what is finished of it, and the files that finished parts left.

In: the address of a folder, local or remote. Out: files that appear whole or not at all, and small
results by name. A part's result is written last, so that it vouches for the part's files; a job
that was interrupted goes on with the parts that have no result. Holds only strings, so it travels
to other processes.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.core.scratch import scratch_folder
from components.core.store import Store
from components.core.store_faults import guarded

_CLAIM = "job.json"


@dataclass(frozen=True)
class WorkFolder:
    """A folder that several processes of one job write to."""

    uri: str

    @cached_property
    def store(self) -> Store:
        return Store(self.uri)

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri}

    def claim(self, job: dict[str, Any]) -> None:
        """Empty the folder unless it belongs to the very same job."""
        try:
            if self.store.read_json(_CLAIM) == job:
                return
        except FileNotFoundError:
            pass
        self.store.delete("", recursive=True)
        self.store.write_json(_CLAIM, job)

    def result(self, name: str) -> Any | None:
        """Return a finished part's result, or None."""
        try:
            return self.store.read_json(f"{name}.json")
        except FileNotFoundError:
            return None

    def finish(self, name: str, result: Any) -> None:
        """Write a part's result: its files are there, and it needs not be done again."""
        # Results may be long lists of numbers; nobody reads them but the job.
        self.store.write_bytes(f"{name}.json", json.dumps(result).encode())

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a local path to write a file to; it gets its name when the block ends well."""
        if self.store.is_local:
            target = Path(self.store.uri(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".tmp-{uuid.uuid4().hex}")
            try:
                yield temporary
                if temporary.exists():
                    temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            return
        with scratch_folder() as scratch:
            path = scratch / name.rpartition("/")[2]
            yield path
            if path.exists():
                self.store.upload(path, name)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """Give a local path with a file's content for as long as the block lasts."""
        if self.store.is_local:
            yield Path(self.store.uri(name))
            return
        with scratch_folder() as scratch:
            path = scratch / name.rpartition("/")[2]
            self.store.download(name, path)
            yield path

    def take(self, name: str, target: Path) -> None:
        """Put a file's content at a local path, without a copy where that is possible."""
        if not self.store.is_local:
            self.store.download(name, target)
            return
        try:
            os.link(self.store.uri(name), target)
        except OSError:
            # Another file system, or one without links.
            guarded(str(target), lambda: shutil.copyfile(self.store.uri(name), target))

    def delete(self) -> None:
        """Delete the folder and all that is in it."""
        self.store.delete("", recursive=True)

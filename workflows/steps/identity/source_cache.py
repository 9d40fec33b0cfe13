"""What is known of source files, kept between processes: plans are many, edits few.

In: the bytes of a file. Out: its facts. They are kept by the digest of those bytes, so a kept fact
is never of another file, wherever it lies. Without the cache a plan takes a second longer.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

PLACE = ".cache/lavaflow/source-facts.json"
"""Place of the cache below the user's folder."""

# Source of several versions of the project; beyond that the cache starts anew.
MAX_FILES = 4096


@dataclass(frozen=True)
class SourceFacts:
    """The digest of a module's source, and what the module leads to."""

    digest: str
    imports: list[str]
    """Dotted names of the project that it imports; some are names within a module."""
    folders: list[str]
    """Packages of which it imports a module whose name it puts together."""
    files: list[str]
    """Names that may be of files beside it, which it opens."""


class SourceCache:
    """Facts by the digest of the source."""

    def __init__(self, path: Path, read: Callable[[bytes], SourceFacts]) -> None:
        """`read` finds facts. Those found by another version of its code are not used."""
        self._path, self._read = path, read
        self._rules = hashlib.sha256(
            b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
        ).hexdigest()
        self._facts: dict[str, SourceFacts] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            kept: Any = json.loads(path.read_bytes())
            if kept["rules"] == self._rules and len(kept["facts"]) < MAX_FILES:
                self._facts = {name: SourceFacts(**one) for name, one in kept["facts"].items()}

    def facts(self, source: bytes) -> SourceFacts:
        """Return the facts of a file."""
        name = hashlib.sha256(source).hexdigest()
        if name not in self._facts:
            self._facts[name] = self._read(source)
            self._changed = True
        return self._facts[name]

    def save(self) -> None:
        """Keep what is new for the next process; a folder that cannot be written is no trouble."""
        if not self._changed:
            return
        self._changed = False
        values = {name: asdict(one) for name, one in self._facts.items()}
        own = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(json.dumps({"rules": self._rules, "facts": values}))
            own.replace(self._path)


@cache
def user_cache(read: Callable[[bytes], SourceFacts]) -> SourceCache:
    """Return the cache of the user who runs this process."""
    return SourceCache(Path.home() / PLACE, read)

"""The digest of source code, so that an edited step runs again.

In: a step function and the names of the modules it declares. Out: one sha256 per source file.
Comments and blank lines do not count; everything else, docstrings included, does. Modules are
found, not imported: asking for the digest of the training code must not load torch.
"""

import functools
import hashlib
import importlib.util
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import ConfigError


def module_digests(names: Sequence[str]) -> dict[str, str]:
    """Return dotted module name -> digest of its source; a package stands for all modules below
    it.
    """
    digests: dict[str, str] = {}
    for name in names:
        for module, path in _source_files(name):
            digests[module] = _file_digest(str(path), path.stat().st_mtime_ns)
    return dict(sorted(digests.items()))


def function_digest(function: Callable[..., Any]) -> str:
    """Return the digest of a function's own source (helpers it calls must be declared as
    modules).
    """
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError) as error:
        raise ConfigError(
            f"step function {getattr(function, '__qualname__', function)!r} has no source file; "
            "define it with `def` in a module"
        ) from error
    return source_digest(textwrap.dedent(source))


def source_digest(source: str) -> str:
    """Return the sha256 of Python source without its comments and blank lines."""
    return hashlib.sha256(_significant(source).encode()).hexdigest()


def _significant(source: str) -> str:
    lines = source.replace("\r\n", "\n").split("\n")
    kept_whole: set[int] = set()
    open_strings: list[int] = []
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO("\n".join(lines)).readline))
    except (tokenize.TokenError, SyntaxError):
        return source
    for token in reversed(tokens):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for token in tokens:
        name = tokenize.tok_name[token.type]
        if name == "STRING":
            kept_whole.update(range(token.start[0], token.end[0]))
        # From Python 3.12 on an f-string is several tokens.
        elif name == "FSTRING_START":
            open_strings.append(token.start[0])
        elif name == "FSTRING_END":
            kept_whole.update(range(open_strings.pop(), token.end[0]))
    kept = []
    for row, line in enumerate(lines, start=1):
        # Inside a text over several lines, blanks are content.
        if row in kept_whole:
            kept.append(line)
        elif line.strip():
            kept.append(line.rstrip())
    return "\n".join(kept)


def _source_files(name: str) -> list[tuple[str, Path]]:
    """Return (dotted name, file) of a module, or of every module of a package."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ConfigError(f"declared code module {name!r}: no package {top!r} can be imported")
    if not rest and spec.origin and not spec.submodule_search_locations:
        return [(name, Path(spec.origin))]
    for location in spec.submodule_search_locations or []:
        folder = Path(location, *rest)
        module = folder.with_suffix(".py")
        if rest and module.is_file():
            return [(name, module)]
        if folder.is_dir():
            return _package_files(name, folder)
    raise ConfigError(
        f"declared code module {name!r} was not found below {top!r}; correct the name in the step"
    )


def _package_files(name: str, folder: Path) -> list[tuple[str, Path]]:
    found = []
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).with_suffix("")
        parts = [part for part in inside.parts if part != "__init__"]
        found.append((".".join([name, *parts]), path))
    return found


@functools.lru_cache(maxsize=2048)
def _file_digest(path: str, modified_ns: int) -> str:
    return source_digest(Path(path).read_text(encoding="utf-8"))

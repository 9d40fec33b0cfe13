"""Annotation files are read with errors a person can act on, arrays of any size row by row.

In: a path. Out: rows of a JSON array with their index, or one JSON value. A damaged file is a
DataError with its position. Bytes that are not UTF-8 become lone surrogates, which
`records.check_unicode` finds in the row that holds them, so that the other rows live.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from components.core.errors import DataError

_CHUNK_CHARACTERS = 1 << 20
_BLANK = " \t\r\n"


def read_json(path: Path) -> Any:
    """Return the JSON value of a file. Raises DataError when it is missing or damaged."""
    with _open(path) as file:
        try:
            return json.load(file)
        except (json.JSONDecodeError, RecursionError) as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else 0
            raise _damaged(path, at, str(error)) from None


def read_json_array(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (index, row) of a JSON array while reading; memory stays at about the largest row.

    Raises DataError when the file is missing, is no array, or is damaged or cut off at some point.
    """
    with _open(path) as file:
        window = _Window(path, file)
        if window.next_character() != "[":
            raise DataError(f"{path}: expected a JSON array of rows ([...]), found another value")
        window.skip(1)
        index = 0
        if window.next_character() == "]":
            return
        while True:
            yield index, window.value()
            index += 1
            separator = window.next_character()
            window.skip(1)
            if separator == "]":
                return
            if separator != ",":
                raise _damaged(path, window.position, f"expected ',' or ']' after row {index - 1}")


class _Window:
    """A sliding piece of the file; `position` is the place in the file of what comes next."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file
        self._text = ""
        self._start = 0
        self._passed = 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    @property
    def position(self) -> int:
        return self._passed + self._start

    def next_character(self) -> str:
        """Return the next character that is not blank, or an empty string at the end."""
        while True:
            while self._start < len(self._text) and self._text[self._start] in _BLANK:
                self._start += 1
            if self._start < len(self._text):
                return self._text[self._start]
            if not self._more():
                return ""

    def skip(self, count: int) -> None:
        self._start += count

    def value(self) -> Any:
        """Return the next value; reads on as long as it may only be incomplete."""
        if not self.next_character():
            raise _damaged(self._path, self.position, "the file ends where a row is due")
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._start)
                # A number at the edge may go on in the next chunk.
                if end < len(self._text) or not self._more():
                    self._start = end
                    return value
            except json.JSONDecodeError as error:
                incomplete = error.pos >= len(self._text) - 16 or error.msg.startswith(
                    "Unterminated"
                )
                if not incomplete or not self._more():
                    raise _damaged(self._path, self._passed + error.pos, error.msg) from None
            except RecursionError:
                raise _damaged(self._path, self.position, "values nested too deeply") from None

    def _more(self) -> bool:
        """Read on, doubling what is held of a long row so that its cost stays linear."""
        if self._ended:
            return False
        kept = len(self._text) - self._start
        chunk = self._file.read(max(_CHUNK_CHARACTERS, kept))
        if not chunk:
            self._ended = True
            return False
        self._passed += self._start
        self._text = self._text[self._start :] + chunk
        self._start = 0
        return True


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such annotation file; fetch it, or leave its source out of `sources`"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _damaged(path: Path, position: int, problem: str) -> DataError:
    return DataError(
        f"{path}: not valid JSON at character {position:,} ({problem}); "
        "the file is cut off or damaged: fetch it again or mend it"
    )

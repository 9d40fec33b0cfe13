"""Annotation files are read with errors a person can act on, files of any size row by row.

In: a path. Out: rows of a JSON array or of JSON lines with their index, entries of a JSON object. A
damaged file is a DataError with its position; a damaged line is only that line's fault. Bytes that
are not UTF-8 become lone surrogates, which `records.check_unicode` finds in the row that holds
them, so that the other rows live.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from components.core.errors import DataError
from components.data.raw.folder import RawPath, open_text

_CHUNK_CHARACTERS = 1 << 20
_BLANK = " \t\r\n"
MAX_LINE_CHARACTERS = 32 << 20
"""Longest JSON line that is parsed; a longer one is passed over, never held."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """Stands for a line that is no JSON value."""

    reason: str


def read_json_array(path: RawPath) -> Iterator[tuple[int, Any]]:
    """Yield (index, row) of a JSON array while reading; memory stays at about the largest row.

    Raises DataError when the file is missing, is no array, or is damaged or cut off at some point.
    """
    with _open(path) as file:
        window = _Window(path, file)
        if window.next_character() != "[":
            raise DataError(f"{path}: expected a JSON array of rows ([...]), found another value")
        yield from window.each_item()


def read_json_rows(path: RawPath, field: str) -> Iterator[tuple[int, Any]]:
    """Yield (index, row) of the array under `field` of a JSON object while reading.

    Memory stays at about the largest row; the other fields are passed over. Raises DataError when
    the file is missing, damaged or cut off at some point, or has no array under `field`.
    """
    with _open(path) as file:
        window = _Window(path, file)
        found = False
        if window.next_character() == "{":
            for key in window.each_key():
                is_array = window.next_character() == "["
                if key == field and is_array:
                    found = True
                    yield from window.each_item()
                elif is_array:
                    for _ in window.each_item():
                        pass
                else:
                    window.value()
        if not found:
            raise DataError(
                f"{path}: expected an object with a list under {field!r}; is it the official file?"
            )


def read_json_entries(path: RawPath) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of a JSON object while reading; memory stays at about the largest value.

    A key that occurs twice is yielded twice. Raises DataError when the file is missing, is no
    object, or is damaged or cut off at some point.
    """
    with _open(path) as file:
        window = _Window(path, file)
        if window.next_character() != "{":
            raise DataError(
                f"{path}: expected a JSON object of entries ({{...}}), found another value; "
                "is it the official file?"
            )
        for key in window.each_key():
            yield key, window.value()


def read_json_lines(path: RawPath) -> Iterator[tuple[int, Any | BadLine]]:
    """Yield (line number from 0, value) of a file with a JSON value per line; blank lines pass.

    Memory stays at about the longest line, at most MAX_LINE_CHARACTERS. Raises DataError when the
    file is missing or cannot be read.
    """
    with _open(path) as file:
        index = 0
        while line := file.readline(MAX_LINE_CHARACTERS):
            if len(line) == MAX_LINE_CHARACTERS and not line.endswith("\n"):
                while (rest := file.readline(_CHUNK_CHARACTERS)) and not rest.endswith("\n"):
                    pass
                yield index, BadLine(f"longer than {MAX_LINE_CHARACTERS:,} characters")
            elif not line.isspace():
                yield index, _line_value(line)
            index += 1


class _Window:
    """A sliding piece of the file; `position` is the place in the file of what comes next."""

    def __init__(self, path: RawPath, file: TextIO) -> None:
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

    def each_item(self) -> Iterator[tuple[int, Any]]:
        """Yield (index, value) of the array that begins here."""
        self.skip(1)
        follows = self.next_character() != "]"
        if not follows:
            self.skip(1)
        index = 0
        while follows:
            yield index, self.value()
            follows = self._separator("]", f"row {index}")
            index += 1

    def each_key(self) -> Iterator[str]:
        """Yield the keys of the object that begins here; take each value before the next key."""
        self.skip(1)
        follows = self.next_character() != "}"
        if not follows:
            self.skip(1)
        while follows:
            if self.next_character() != '"':
                raise _damaged(self._path, self.position, "expected a key in quotes")
            key = self.value()
            if self.next_character() != ":":
                raise _damaged(
                    self._path, self.position, f"expected ':' after the key {key[:40]!r}"
                )
            self.skip(1)
            yield key
            follows = self._separator("}", f"the value of {key[:40]!r}")

    def _separator(self, closing: str, after: str) -> bool:
        """Pass a comma (True: more follows) or the closing bracket (False)."""
        found = self.next_character()
        if found not in (",", closing):
            raise _damaged(self._path, self.position, f"expected ',' or {closing!r} after {after}")
        self.skip(1)
        return found == ","

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
            except ValueError as error:  # a number of thousands of digits
                raise _damaged(self._path, self.position, str(error)) from None

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


def _line_value(line: str) -> Any | BadLine:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return BadLine(f"not valid JSON at character {error.pos:,} ({error.msg})")
    except RecursionError:
        return BadLine("values nested too deeply")


def _open(path: RawPath) -> TextIO:
    try:
        return open_text(path)
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such annotation file; fetch it, or leave its source out of `sources`"
        ) from None


def _damaged(path: RawPath, position: int, problem: str) -> DataError:
    return DataError(
        f"{path}: not valid JSON at character {position:,} ({problem}); "
        "the file is cut off or damaged: fetch it again or mend it"
    )

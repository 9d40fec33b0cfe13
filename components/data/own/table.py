"""A folder of images with a table: one row per sample, the image named in a column.

    image,question,answer                     file_name,text
    cats/1.jpg,What is this?,a cat            1.jpg,a cat on a mat

In: a CSV or TSV file, or a row of another table (Parquet). Out: records. Columns are found by name,
in any order, upper or lower case; columns not known are left alone. Images lie below the folder
of the table. `file_name` and `text` are the names in Hugging Face's image folders.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from components.core.errors import DataError
from components.data.chat import read_address
from components.data.raw.folder import RawPath, open_text
from components.data.records import (
    IMAGE_PLACEHOLDER,
    BadRecord,
    Record,
    Rejected,
    Turn,
    check_turns,
    record_id,
    take_placeholder,
)
from components.data.response_formats import ONE_SENTENCE

IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path")
QUESTION_COLUMNS = ("question", "prompt")
ANSWER_COLUMNS = ("answer", "response")
CAPTION_COLUMNS = ("caption", "text")
TABLE_COLUMNS = (*IMAGE_COLUMNS, *QUESTION_COLUMNS, *ANSWER_COLUMNS, *CAPTION_COLUMNS)
COLUMNS_HELP = "image with caption, or question with answer (and image)"

MAX_CELL_CHARACTERS = 1 << 20


def read_table(path: RawPath, source: str) -> Iterator[Record | Rejected]:
    """Yield each row of a CSV or TSV file, the index counted from 0 below the header.

    Raises DataError when the file is missing, or has no header with the columns it needs.
    """
    try:
        with open_text(path, newline="") as file:
            header = file.readline()
            delimiter = _delimiter(header)
            columns = next(csv.reader([header], delimiter=delimiter), [])
            names = [column.strip().lower() for column in columns]
            require_columns(names, str(path))
            csv.field_size_limit(MAX_CELL_CHARACTERS)
            cells = csv.reader(file, delimiter=delimiter, strict=True)
            yield from _rows(cells, names, source, path.name)
    except FileNotFoundError:
        raise DataError(f"{path}: no such table") from None


def require_columns(names: Sequence[str], where: str, also: str = "") -> None:
    """Raise DataError unless a table has the columns of a sample; `also` names other ways."""
    has_pair = _first(names, QUESTION_COLUMNS) and _first(names, ANSWER_COLUMNS)
    if not has_pair and not (_first(names, IMAGE_COLUMNS) and _first(names, CAPTION_COLUMNS)):
        found = ", ".join(names) or "none"
        expected = f"{also}; or {COLUMNS_HELP}" if also else COLUMNS_HELP
        raise DataError(f"{where}: columns {found}; expected {expected}")


def parse_table_row(raw: Mapping[str, Any], source: str, file: str, index: int) -> Record:
    """Return the record of a row, keys in lower case. Raises BadRecord with the reason.

    An empty image cell makes a text-only sample, but a caption needs its image.
    """
    image = raw.get(_first(raw, IMAGE_COLUMNS))
    question_column = _first(raw, QUESTION_COLUMNS)
    if question_column:
        question = _text(raw, question_column)
        answer = _text(raw, _first(raw, ANSWER_COLUMNS))
    elif not image:
        raise BadRecord("a caption without an image")
    else:
        # Pretrain's template drops the question.
        question, answer = ONE_SENTENCE, _text(raw, _first(raw, CAPTION_COLUMNS))
    turns: tuple[Turn, ...] = (Turn("human", question), Turn("gpt", answer))
    if IMAGE_PLACEHOLDER in question:
        turns = take_placeholder(turns, has_image=bool(image))
    check_turns(turns, has_image=bool(image))
    name, data = read_address(image, file) if image else (None, None)
    return Record(record_id(raw, index), turns, name, source, file, index, data)


def _rows(
    cells: Iterator[list[str]], names: Sequence[str], source: str, file: str
) -> Iterator[Record | Rejected]:
    index = -1
    while True:
        index += 1
        try:
            row = next(cells, None)
            if row is None:
                return
            if not row:
                index -= 1  # a blank line is no row
                continue
            if len(row) != len(names):
                raise BadRecord(f"{len(row)} columns; the header has {len(names)}")
            raw = dict(zip(names, row, strict=True))
            yield parse_table_row(raw, source, file, index)
        except csv.Error as error:
            yield Rejected(source, file, index, str(index), f"not valid CSV ({error})")
        except BadRecord as error:
            name = record_id(dict(zip(names, row or [], strict=False)), index)
            yield Rejected(source, file, index, name, error.reason)


def _delimiter(header: str) -> str:
    """Return the separator that the header uses most; spreadsheets write semicolons or tabs too."""
    count: Callable[[str], int] = header.count
    return max((",", ";", "\t"), key=count)


def _first(names: Sequence[str] | Mapping[str, Any], wanted: Sequence[str]) -> str:
    return next((name for name in wanted if name in names), "")


def _text(raw: Mapping[str, Any], column: str) -> str:
    value = raw.get(column)
    if not isinstance(value, str):
        raise BadRecord(f"`{column}` is {type(value).__name__}; expected text")
    return value

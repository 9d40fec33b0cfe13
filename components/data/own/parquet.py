"""Parquet files whose rows hold their images, as the Hugging Face hub stores image data sets.

In: a file with a column `image` or `images` (struct of `bytes` and `path`, binary, or a path; or a
list with one of them) and `conversations`, `messages`, question and answer, or caption. Out: rows
as plain objects. No whole file is held, only the pages of some rows and of columns that are needed.
"""

import json
from collections.abc import Iterator
from typing import Any

from components.core.errors import DataError
from components.data.own.table import TABLE_COLUMNS, require_columns
from components.data.raw.folder import RawPath, open_binary

TURN_COLUMNS = ("conversations", "messages")
_COLUMNS = {"id", "source", "images", *TURN_COLUMNS, *TABLE_COLUMNS}
_ROWS_PER_BATCH = 64


def read_parquet_rows(path: RawPath) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (index, row) with column names in lower case; turns stored as JSON text are parsed.

    Raises DataError when the file is missing, damaged, or lacks the columns of a sample.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_binary(path) as binary, pq.ParquetFile(binary) as file:
            found = {name.lower(): name for name in file.schema_arrow.names}
            if not found.keys() & set(TURN_COLUMNS):
                require_columns(list(found), str(path), also=" or ".join(TURN_COLUMNS))
            columns = [name for lower, name in found.items() if lower in _COLUMNS]
            index = 0
            for batch in file.iter_batches(_ROWS_PER_BATCH, columns=columns, use_threads=False):
                for row in batch.to_pylist():
                    yield index, {name.lower(): _parsed(name, row[name]) for name in columns}
                    index += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as Parquet ({error}); fetch it again or write it anew"
        ) from None


def _parsed(name: str, value: Any) -> Any:
    if isinstance(value, str) and name.lower() in TURN_COLUMNS:
        try:
            return json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            return value  # the row's parser says what it expects instead of a text
    return value

"""Pickle files of public data sets, read as plain data and as nothing else.

In: the path of a pickle of any protocol, of Python 2 or 3. Out: dicts, lists, tuples, sets, texts,
bytes, numbers, booleans and None. A pickle is a program; this reader calls only the constructors in
`_ADMITTED` and refuses a file that asks for anything else. Reference: the refs files of
https://github.com/lichengunc/refer, written by Python 2; "Restricting globals" in the manual of
Python's pickle module.
"""

import codecs
import pickle
from collections.abc import Callable
from typing import Any, NoReturn

from components.core.errors import DataError
from components.data.raw.folder import RawPath, open_binary

_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    # Python 3 writes bytes for Python 2 as texts that are to be encoded.
    ("_codecs", "encode"): str.encode,
    **{
        (module, name): kind
        for module in ("__builtin__", "builtins")
        for name, kind in {
            "dict": dict, "list": list, "tuple": tuple, "set": set, "frozenset": frozenset,
            "str": str, "unicode": str, "bytes": bytes, "int": int, "long": int, "float": float,
            "bool": bool,
        }.items()
    },
}  # fmt: skip
"""Built-in constructors, which run no code of the file and whose attributes it cannot change."""
_TEXT_ERRORS = "lavaflow.latin-1"


def read_plain_pickle(path: RawPath) -> Any:
    """Return the plain data of a pickle; byte strings of Python 2 become texts.

    Such a string is read as UTF-8, and byte by byte as Latin-1 where it is none. Raises DataError
    when the file is missing, damaged, or asks for more than plain data.
    """
    try:
        with open_binary(path) as file:
            return _PlainUnpickler(file, encoding="utf-8", errors=_TEXT_ERRORS).load()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such annotation file; fetch it, or leave its source out of `sources`"
        ) from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OSError,
        OverflowError,
        AttributeError,
        MemoryError,
        RecursionError,
        LookupError,
    ) as error:
        # A damaged pickle fails with any of these.
        raise DataError(
            f"{path}: not a readable pickle ({error or type(error).__name__}); fetch it again"
        ) from None


class _PlainUnpickler(pickle.Unpickler):
    """Looks names up in `_ADMITTED` alone, so that a pickle can build data but run nothing."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise DataError(
                f"asks for {module}.{name}, but only plain data is admitted; do not trust this file"
            ) from None

    def persistent_load(self, pid: Any) -> NoReturn:
        raise DataError("asks for an outside object, but only plain data is admitted")


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    """Decode the bytes that are no UTF-8 as Latin-1, in which every byte is a character."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_TEXT_ERRORS, _as_latin_1)

"""Pickles are read as data: every protocol, both Pythons, and no code of the file is run."""

import contextlib
import os
import pickle
import pickletools
from collections import OrderedDict
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import DataError
from components.data.raw.plain_pickle import read_plain_pickle
from tests.data.samples import put

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=12,
)  # fmt: skip


@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_of_every_protocol_comes_back(tmp_path_factory, value, protocol):
    path = put(tmp_path_factory.getbasetemp() / "any.p", pickle.dumps(value, protocol=protocol))
    assert read_plain_pickle(path) == value


# As Python 2 wrote them: protocol 0 and 2 with byte strings, unicode, long and built-in names.
PYTHON_2 = {
    "protocol 0": (b"(lp0\n(dp1\nS'sent'\np2\nS'the cat'\np3\nsa.", [{"sent": "the cat"}]),
    "protocol 2": (b"\x80\x02]q\x00}q\x01U\x04sentq\x02U\x03catq\x03sa.", [{"sent": "cat"}]),
    "unicode": (b"Vthe caf\\u00e9\np0\n.", "the caf\u00e9"),
    "bytes that are UTF-8": (b"\x80\x02U\x05caf\xc3\xa9.", "caf\u00e9"),
    "bytes that are Latin-1": (b"\x80\x02U\x08caf\xe9 bar.", "caf\u00e9 bar"),
    "long and true": (b"(L7L\nI01\nt.", (7, True)),
    "a built-in called": (b"c__builtin__\nset\np0\n((lp1\nS'a'\np2\natp3\nRp4\n.", {"a"}),
    "an empty dict called": (b"c__builtin__\ndict\n(tR.", {}),
}


@pytest.mark.parametrize(("data", "value"), PYTHON_2.values(), ids=PYTHON_2)
def test_pickles_of_python_2_are_read(tmp_path, data, value):
    assert read_plain_pickle(put(tmp_path / "refs.p", data)) == value


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


EVIL = {
    "a call": pickle.dumps([Calls(print, "this must never run")]),
    "a system call": pickle.dumps(Calls(os.system, "echo this must never run")),
    "eval": pickle.dumps(Calls(eval, "print('this must never run')")),
    "getattr": pickle.dumps(Calls(getattr, {}, "clear")),
    "open": pickle.dumps(Calls(open, "/dev/null")),
    "bytearray": pickle.dumps(bytearray(b"x"), protocol=2),
    "a dotted name": b"\x80\x04\x8c\x08builtins\x8c\x0ddict.fromkeys\x93.",
    "a python 2 call": b"c__builtin__\nexec\n(S'print(1)'\ntR.",
    "an instance": b"(iposix\nsystem\n.",
    "an object of the library": pickle.dumps(Decimal(1)),
    "a class of the library": pickle.dumps(OrderedDict(a=1)),
    "an outside object": b"Pelsewhere\n.",
}


@pytest.mark.parametrize("data", EVIL.values(), ids=EVIL)
def test_more_than_plain_data_is_refused(tmp_path, capfd, data):
    path = put(tmp_path / "refs.p", data)
    with pytest.raises(DataError, match=r"refs\.p: asks for .* only plain data is admitted"):
        read_plain_pickle(path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("kind", ["dict", "list", "str", "set"])
def test_a_pickle_cannot_change_the_constructors(tmp_path, kind):
    # BUILD would set attributes of what stands on the stack.
    data = f"c__builtin__\n{kind}\n(dS'__len__'\nI1\nsb.".encode()
    assert any(opcode.name == "BUILD" for opcode, _, _ in pickletools.genops(data))
    with pytest.raises(DataError, match="fetch it again"):
        read_plain_pickle(put(tmp_path / "refs.p", data))


DAMAGED = {
    "empty": b"",
    "no pickle": b"nonsense",
    "truncated": pickle.dumps([1, 2, 3])[:-3],
    "a text cut off": pickle.dumps("text" * 20)[:-9],
    "an unknown encoding": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x01\x00\x00\x00z\x86R.",
    "a huge claim": b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x.",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_pickle_is_reported(tmp_path, data):
    with pytest.raises(DataError, match="fetch it again"):
        read_plain_pickle(put(tmp_path / "refs.p", data))


@given(st.binary(max_size=40))
def test_any_bytes_give_data_or_a_data_error(tmp_path_factory, data):
    path = put(tmp_path_factory.getbasetemp() / "noise.p", data)
    with contextlib.suppress(DataError):
        read_plain_pickle(path)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="leave its source out"):
        read_plain_pickle(tmp_path / "none.p")

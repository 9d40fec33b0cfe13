"""Arrays are streamed; damaged files are named with the position."""

import json

import pytest

from components.core.errors import DataError
from components.data.raw import json_files
from components.data.raw.json_files import (
    read_json_array,
    read_json_entries,
    read_json_rows,
)
from tests.data.samples import put

ROWS = [{"a": 1}, [], 'x"y', 12345, -1.5e3, None, True, {"n": {"m": ["\u00e9", "\\u"]}}, "z" * 300]


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_rows_are_those_of_json_load_at_every_chunk_size(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(json_files, "_CHUNK_CHARACTERS", chunk)
    path = put(tmp_path / "a.json", json.dumps(ROWS, indent=indent))
    assert [row for _, row in read_json_array(path)] == ROWS
    assert [index for index, _ in read_json_array(path)] == list(range(len(ROWS)))


def test_an_empty_array_has_no_rows(tmp_path):
    assert list(read_json_array(put(tmp_path / "a.json", " [ ] "))) == []


@pytest.mark.parametrize("chunk", [5, 1 << 20])
@pytest.mark.parametrize("keep", [0, 1, 4, 9, 30, 70])
def test_a_truncated_file_is_reported(tmp_path, monkeypatch, chunk, keep):
    monkeypatch.setattr(json_files, "_CHUNK_CHARACTERS", chunk)
    path = put(
        tmp_path / "a.json", json.dumps([{"id": n, "value": "text " * 3} for n in range(9)])[:keep]
    )
    with pytest.raises(DataError, match=r"a\.json") as caught:
        list(read_json_array(path))
    assert "expected a JSON array" in str(caught.value) or "at character" in str(caught.value)


def test_good_rows_before_the_damage_arrive(tmp_path):
    rows = read_json_array(put(tmp_path / "a.json", '[{"a": 1}, {"a": 2}, {"a": oops}]'))
    assert next(rows) == (0, {"a": 1})
    assert next(rows) == (1, {"a": 2})
    with pytest.raises(DataError, match="at character 27"):
        next(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": []}', "expected a JSON array"),
        ("[1 2]", "expected ',' or ']' after row 0"),
        ("[1,]", "at character 3"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_other_damage_is_reported(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        list(read_json_array(put(tmp_path / "a.json", text)))


WHOLE = {"info": {"n": [1]}, "before": [[1], "]"], "rows": ROWS, "after": "}", "end": [{}]}


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_objects_are_those_of_json_load_at_every_chunk_size(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(json_files, "_CHUNK_CHARACTERS", chunk)
    path = put(tmp_path / "a.json", json.dumps(WHOLE, indent=indent))
    assert dict(read_json_entries(path)) == WHOLE
    for field in ("before", "rows", "end"):
        assert [row for _, row in read_json_rows(path, field)] == WHOLE[field]
    assert [index for index, _ in read_json_rows(path, "rows")] == list(range(len(ROWS)))


def test_empty_objects_and_arrays_have_no_rows(tmp_path):
    assert list(read_json_entries(put(tmp_path / "a.json", " { } "))) == []
    assert list(read_json_rows(put(tmp_path / "a.json", '{"a": [ ], "b": 1}'), "a")) == []


def test_a_key_that_occurs_twice_is_seen_twice(tmp_path):
    path = put(tmp_path / "a.json", '{"7": 1, "7": 2}')
    assert list(read_json_entries(path)) == [("7", 1), ("7", 2)]


@pytest.mark.parametrize("chunk", [5, 1 << 20])
@pytest.mark.parametrize("keep", range(0, 60, 7))
def test_a_truncated_object_is_reported(tmp_path, monkeypatch, chunk, keep):
    monkeypatch.setattr(json_files, "_CHUNK_CHARACTERS", chunk)
    text = '{"rows": [{"id": 1}, {"id": 2}], "more": {"a": 1}, "last": [3]}'
    path = put(tmp_path / "a.json", text[:keep])
    with pytest.raises(DataError, match=r"a\.json.*(at character|is it the official file)"):
        list(read_json_rows(path, "rows"))
    with pytest.raises(DataError, match=r"a\.json.*(at character|is it the official file)"):
        list(read_json_entries(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is it the official file"),
        ('{"rows": 3}', "a list under 'rows'"),
        ('{"other": []}', "a list under 'rows'"),
        ("{rows: []}", "expected a key in quotes"),
        ('{"rows" []}', "expected ':' after the key 'rows'"),
        ('{"rows": [] "b": 1}', "expected ',' or '}' after the value of 'rows'"),
        ('{"rows": [],}', "expected a key in quotes"),
    ],
)
def test_other_damage_of_objects_is_reported(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        list(read_json_rows(put(tmp_path / "a.json", text), "rows"))


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="leave its source out"):
        list(read_json_array(tmp_path / "none.json"))
    with pytest.raises(DataError, match="leave its source out"):
        list(read_json_entries(tmp_path / "none.json"))


def test_invalid_utf8_spoils_only_its_row(tmp_path):
    path = put(tmp_path / "a.json", b'["ok", "b\xff", "fine"]')
    rows = [row for _, row in read_json_array(path)]
    assert rows[0] == "ok"
    assert rows[2] == "fine"
    assert rows[1] == "b\udcff"

"""Every reader against bad rows and bad files: one wrong row is named and costs no other."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import DataError
from components.data.records import Record, Rejected
from tests.data.sources.bad_llava_rows import Source
from tests.data.sources.bad_rows import SOURCES

CASES = [(name, fault) for name, source in SOURCES.items() for fault in source.bad]


def read(source: Source, root: Path, rows: list[Any]) -> tuple[list[Any], list[Rejected]]:
    source.write(root, rows)
    found = list(source.read(root))
    return (
        [row for row in found if not isinstance(row, Rejected)],
        [row for row in found if isinstance(row, Rejected)],
    )


def facts(rows: list[Any]) -> list[Any]:
    """Rows without their place in the file."""
    return [
        Record(row.id, row.turns, row.image, row.source) if isinstance(row, Record) else row
        for row in rows
    ]


@pytest.mark.parametrize(("name", "fault"), CASES, ids=[f"{n}: {f}" for n, f in CASES])
def test_a_bad_row_is_named_and_costs_no_good_one(tmp_path, name, fault):
    source = SOURCES[name]
    change, identity, reason = source.bad[fault]
    bad = {**source.good(7), **change} if isinstance(change, dict) else change
    alone, none = read(source, tmp_path, [source.good(0), source.good(1)])
    good, rejected = read(source, tmp_path, [source.good(0), bad, source.good(1)])
    assert (facts(good), none) == (facts(alone), [])
    assert [(row.source, row.file, row.index, row.id) for row in rejected] == [
        (name, Path(source.files[0]).name, 1, identity)
    ]
    assert reason in rejected[0].reason


@pytest.mark.parametrize("name", SOURCES)
def test_rows_of_a_file_add_up(tmp_path, name):
    """in = out + rejected, with every fault of the source in one file."""
    source = SOURCES[name]
    one, _ = read(source, tmp_path, [source.good(0)])
    rows = [source.good(0), source.good(1)]
    for change, _, _ in source.bad.values():
        rows.append({**source.good(7), **change} if isinstance(change, dict) else change)
    good, rejected = read(source, tmp_path, [*rows, source.good(2)])
    assert len(good) == 3 * len(one)
    assert [row.index for row in rejected] == list(range(2, len(rows)))


SUBROWS = {
    "ocrvqa": ("answers", 1, "", "`answer` is empty", "b0-1"),
    "refcoco": ("sentences", 1, {"sent": 3}, "`sent` is int; expected text", "0"),
    "visual_genome": ("regions", 1, {"region_id": 5}, "`x` is missing", "5"),
}


@pytest.mark.parametrize("name", SUBROWS)
def test_a_bad_part_of_a_row_does_not_cost_the_rest(tmp_path, name):
    source = SOURCES[name]
    field, place, value, reason, identity = SUBROWS[name]
    whole, _ = read(source, tmp_path, [source.good(0)])
    row = source.good(0)
    row[field][place] = value
    good, rejected = read(source, tmp_path, [row])
    assert good == whole[:place] + whole[place + 1 :]
    assert [(row.id, row.reason) for row in rejected] == [(identity, reason)]


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_of_another_form_is_refused_by_name(tmp_path, name):
    source = SOURCES[name]
    source.write(tmp_path, [source.good(0)])
    for file in source.files:
        path = tmp_path / file
        right = path.read_bytes()
        if path.suffix == ".p":
            damaged = [pickle.dumps({}), right[:-20], b""]
        else:
            other = b"[1]" if right.startswith(b"{") else b'{"rows": []}'
            damaged = [other, right[:-20], b"", b"null", b'"rows"']
        for content in damaged:
            path.write_bytes(content)
            with pytest.raises(DataError) as caught:
                list(source.read(tmp_path))
            assert str(caught.value).startswith(f"{path}: ")
        path.unlink()
        with pytest.raises(DataError, match="no such annotation file"):
            list(source.read(tmp_path))
        path.write_bytes(right)

"""Checking one's own data: every bad row is named with its reason, and counts add up."""

import json

import pytest

from components.core.errors import DataError
from components.data import images
from components.data.own.check import check
from components.data.own.forms import open_own
from components.data.prepare.summary import reason_kind
from tests.data.samples import jpeg, llava_row, put
from tests.data.test_images import bomb


def row(name, image="a.jpg", question="<image>\nWhat?", answer="a cat"):
    return llava_row(name, image, question, answer)


def run(path, image_root=None, **options):
    rejected = []
    result = check(open_own(path, image_root), rejected.append, **options)
    assert result.num_rows == result.num_good + len(rejected)
    assert sum(result.reasons.values()) == result.num_rejected == len(rejected)
    return result, {reject.id: reject.reason for reject in rejected}


def test_good_rows(tmp_path):
    put(tmp_path / "a.jpg", jpeg(1))
    rows = [row("1"), row("2", answer="a dog"), llava_row("3", None, "Hello", "Hi")]
    result, rejected = run(put(tmp_path / "own.json", rows))
    assert (result.num_good, result.num_images, rejected) == (3, 1, {})


@pytest.mark.parametrize("num_threads", [1, 3])
def test_every_bad_row_is_named(tmp_path, num_threads):
    root = tmp_path / "images"
    put(root / "a.jpg", jpeg(1))
    put(root / "cut.jpg", jpeg(1)[:-300])
    put(root / "bomb.png", bomb(9_450))
    put(root / "page.jpg", b"<html>not found</html>")
    put(root / "empty.jpg", b"")
    put(tmp_path / "secret.jpg", jpeg(2))
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "folder.jpg").mkdir()
    rows = [
        row("good"),
        row("missing", "none.jpg"),
        row("truncated", "cut.jpg"),
        row("bomb", "bomb.png"),
        row("no image", "page.jpg"),
        row("empty file", "empty.jpg"),
        row("outside", "../secret.jpg"),
        row("absolute", str(tmp_path / "secret.jpg")),
        row("link", "link.jpg"),
        row("folder", "folder.jpg"),
        row("roles", None, "What?") | {"conversations": [{"from": "human", "value": "a"}] * 2},
        row("empty", answer=""),
        row("placeholders", question="<image><image>"),
        row("none", question="What?"),
        row("types", image=7),
        row("twin"),
        row("twin"),
        row("good again", answer="</s> <image> ASSISTANT: USER:"),
    ]
    result, rejected = run(put(tmp_path / "own.json", rows), root, num_threads=num_threads)
    expected = {
        "missing": "image none.jpg does not exist",
        "truncated": "cannot be decoded",
        "bomb": "the limit is",
        "no image": "is no image that can be decoded",
        "empty file": "the file is empty",
        "outside": "the path leaves the raw folder",
        "absolute": "the path leaves the raw folder",
        "link": "a link leads out",
        "folder": "is no file",
        "roles": "turn 1: roles out of order",
        "empty": "turn 1: empty answer",
        "placeholders": "2 <image> placeholders but 1 images",
        "none": "0 <image> placeholders but 1 images",
        "types": "image is int",
        "twin": "duplicate",
    }
    assert rejected.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in rejected[name], name
    assert result.num_good == 3


def test_links_may_be_admitted(tmp_path):
    put(tmp_path / "secret.jpg", jpeg(2))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link.jpg").symlink_to(tmp_path / "secret.jpg")
    path = put(tmp_path / "root/own.json", [row("1", "link.jpg")])
    assert run(path)[0].num_good == 0
    assert run(path, follow_links=True)[0].num_good == 1


def test_an_image_over_the_limit_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 100)
    put(tmp_path / "a.jpg", jpeg(1))
    assert "the limit is 100" in run(put(tmp_path / "own.json", [row("1")]))[1]["1"]


@pytest.mark.parametrize("name", ["own.json", "own.jsonl"])
def test_damage_half_way_is_one_bad_row_after_the_good_ones(tmp_path, name):
    put(tmp_path / "a.jpg", jpeg(1))
    rows = [row(str(n), answer=f"cat {n}") for n in range(3)]
    text = json.dumps(rows) if name == "own.json" else "\n".join(map(json.dumps, rows))
    result, rejected = run(put(tmp_path / name, text[:-20]))
    assert (result.num_good, result.num_rejected) == (2, 1)
    (reason,) = rejected.values()
    assert "not valid JSON at character" in reason


def test_a_file_that_cannot_be_read_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match="expected a JSON array"):
        run(put(tmp_path / "own.json", "7"))
    with pytest.raises(DataError, match="holds no row"):
        run(put(tmp_path / "own.json", "[]"))


def test_rows_are_counted_as_they_pass(tmp_path):
    put(tmp_path / "a.jpg", jpeg(1))
    seen = []
    rows = [row(str(n), answer=f"{n}") for n in range(300)]
    run(put(tmp_path / "own.json", rows), progress=seen.append)
    assert seen == [256, 44]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("image a b.jpg does not exist", "image c/d: e.jpg does not exist"),
        ("image a.jpg: 9,450 x 1 pixels; the limit", "image b.png: 1 x 88 pixels; the limit"),
        ("turn 3: role 'x'; expected", "turn 15: role 'robot'; expected"),
    ],
)
def test_reasons_of_a_kind_are_counted_together(one, other):
    assert reason_kind(one) == reason_kind(other)
    assert reason_kind("turn 1: empty answer") != reason_kind("turn 0: empty question")

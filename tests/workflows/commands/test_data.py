"""`lavaflow data`: exit codes that scripts can trust, every bad row on file, a page to look at."""

import json

import pytest

from tests.data.samples import jpeg, llava_row, put

GOOD = [llava_row(str(n), "a.jpg", "<image>\nWhat is this?", f"a cat {n}") for n in range(3)]
BAD = [
    llava_row("missing", "none.jpg", "<image>\nWhat?", "a cat"),
    llava_row("[red]\x1b[31m", "a.jpg", "<image>\nWhat?", ""),
]


@pytest.fixture
def folder(tmp_path):
    """The folder that the commands run in."""
    put(tmp_path / "a.jpg", jpeg(1))
    return tmp_path


def test_good_rows_exit_with_0(folder, lavaflow):
    result = lavaflow("data", "check", put(folder / "own.json", GOOD))
    assert result.returncode == 0, result.stderr
    assert "3 rows: 3 good, 0 bad, 1 images" in result.stdout


def test_bad_rows_exit_with_1_and_are_all_on_file(folder, lavaflow):
    path = put(folder / "own.json", GOOD + BAD)
    result = lavaflow("data", "check", path, "--first", "1", "--output", folder / "rejects.jsonl")
    assert result.returncode == 1, result.stderr
    assert "First 1 of 2 bad rows" in result.stdout
    assert "image none.jpg does not exist" in result.stdout
    assert "turn #: empty answer" in result.stdout
    assert "5 rows: 3 good, 2 bad" in result.stdout
    lines = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    assert [(line["index"], line["id"]) for line in lines] == [(3, "missing"), (4, "[red]\x1b[31m")]


def test_an_id_cannot_speak_to_the_terminal(folder, lavaflow):
    result = lavaflow("data", "check", put(folder / "own.json", BAD))
    assert "[red]\\x1b[31m" in result.stdout
    assert "\x1b" not in result.stdout


MISTAKES = [
    (["check", "none.json"], 3, "accepted are"),
    (["check", "own.json", "--image-root", "none"], 2, "image root none: no such folder"),
    (["check"], 2, "PATH"),
    (["show", "own.json", "--output", "none/page.html"], 2, "no such folder for the page"),
    (["show", "own.json", "--number", "0"], 2, "--number"),
]


@pytest.mark.parametrize(("words", "code", "text"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_mistake_gets_a_message_and_an_exit_code(folder, lavaflow, words, code, text):
    put(folder / "own.json", GOOD)
    result = lavaflow("data", *words)
    assert result.returncode == code
    assert text in (result.stdout + result.stderr).replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_prepared_data_was_checked_when_it_was_made(folder, lavaflow):
    put(folder / "prepared.json", {})
    result = lavaflow("data", "check", folder)
    assert result.returncode == 2
    assert "rejects.jsonl" in result.stderr


def test_show_writes_a_page(folder, lavaflow):
    path = put(folder / "own.json", GOOD + BAD)
    result = lavaflow("data", "show", path, "--output", folder / "page.html", "--number", "2")
    assert result.returncode == 0, result.stderr
    assert "4 rows, 1 rejected; 2 samples in" in result.stdout
    page = (folder / "page.html").read_text()
    assert page.count('<article class="card">') == 2
    assert "336 x 336" in page

"""The paper's rules, each on a few annotations, and the whole mixture on a small raw folder."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import DataError
from components.data.config import MIXTURE_SOURCES, MixtureConfig
from components.data.mixture.rules import (
    RESPONSE_FORMATS,
    merge_questions,
    one_caption,
    region_segments,
    repeat_per_choice,
    sampled_regions,
)
from components.data.records import Record, Rejected, Turn, check_turns
from components.data.response_formats import (
    DESCRIBE_REGION,
    LOCATE_REGION,
    OPTION_LETTER,
    SHORT_ANSWER,
)
from components.data.sources import llava, vqa
from components.data.sources.annotations import Caption, MultipleChoice, QuestionAnswer, Region
from components.data.sources.boxes import Box, box_to_text
from tests.data.samples import build_mixture, llava_row, put


def counts(rows):
    found = {}
    for row in rows:
        found[row.source] = found.get(row.source, 0) + 1
    return found


def test_questions_of_an_image_become_one_conversation():
    group = [QuestionAnswer(str(n), "gqa/images/7.jpg", f"q{n}", f"a{n}") for n in range(3)]
    (record,) = merge_questions("gqa", group)
    assert record.id == "7"
    assert record.image == "gqa/images/7.jpg"
    assert record.turns == (
        Turn("human", f"q0\n{SHORT_ANSWER}"),
        Turn("gpt", "a0"),
        Turn("human", "q1"),
        Turn("gpt", "a1"),
        Turn("human", "q2"),
        Turn("gpt", "a2"),
    )


@given(st.lists(st.integers(0, 7), max_size=60), st.sampled_from(["vqav2", "okvqa", "ocrvqa"]))
def test_merging_loses_no_question_and_mixes_no_images(tmp_path_factory, images, source):
    """Questions in any order, merged: each once, with its image, in the order of the file."""
    root = tmp_path_factory.getbasetemp() / "merge"
    images = sorted(images) if source == "ocrvqa" else images
    write_questions[source](root, images)
    rows = list(build_mixture(root, MixtureConfig(sources=(source,)), 0))
    assert [row.image for row in rows] == list(dict.fromkeys(image_of[source](n) for n in images))
    asked = [
        (row.image, question.text.split("\n")[0], answer.text)
        for row in rows
        for question, answer in zip(row.turns[::2], row.turns[1::2], strict=True)
    ]
    assert sorted(asked) == sorted(
        (image_of[source](n), f"q{place}", f"a{place}") for place, n in enumerate(images)
    )
    assert all(row.turns[0].text.endswith(SHORT_ANSWER) for row in rows)
    assert [(row.file, row.index) for row in rows] == [(source, n) for n in range(len(rows))]


def write_pair(root: Path, names: tuple[str, str], images: list[int]) -> None:
    questions = [
        {"question_id": place, "image_id": n, "question": f"q{place}"}
        for place, n in enumerate(images)
    ]
    answers = [
        {
            "question_id": place,
            "multiple_choice_answer": f"a{place}",
            "answers": [{"answer": f"a{place}"}],
        }
        for place in range(len(images))
    ]
    put(root / names[0], {"questions": questions})
    put(root / names[1], {"annotations": answers})


def write_books(root: Path, images: list[int]) -> None:
    books: dict[str, Any] = {}
    for place, n in enumerate(images):
        row = books.setdefault(f"b{n}", {"questions": [], "answers": [], "split": 1})
        row["questions"].append(f"q{place}")
        row["answers"].append(f"a{place}")
    put(root / "ocr_vqa/dataset.json", books)


write_questions = {
    "vqav2": lambda root, images: write_pair(root, vqa.VQAV2_FILES, images),
    "okvqa": lambda root, images: write_pair(root, vqa.OKVQA_FILES, images),
    "ocrvqa": write_books,
}
image_of = {
    "vqav2": "coco/train2017/{:012d}.jpg".format,
    "okvqa": "coco/train2017/{:012d}.jpg".format,
    "ocrvqa": "ocr_vqa/images/b{}.jpg".format,
}


@given(st.integers(2, 6), st.data())
def test_options_rotate_so_that_each_letter_is_right_once(num_choices, data):
    correct = data.draw(st.integers(0, num_choices - 1))
    choices = tuple(f"thing {n}" for n in range(num_choices))
    records = repeat_per_choice(
        "aokvqa", [MultipleChoice("q", "i/1.jpg", "Which?", choices, correct)]
    )
    assert len(records) == num_choices
    assert len({record.id for record in records}) == num_choices
    letters = [record.turns[1].text for record in records]
    assert sorted(letters) == [chr(65 + n) for n in range(num_choices)]
    for record, letter in zip(records, letters, strict=True):
        question, *options, prompt = record.turns[0].text.split("\n")
        assert (question, prompt) == ("Which?", OPTION_LETTER)
        assert f"{letter}. thing {correct}" in options
        assert sorted(option[3:] for option in options) == sorted(choices)


def test_one_caption_of_an_image_is_drawn_by_seed():
    group = [Caption("t1", "x/t1.jpg", f"caption {n}") for n in range(5)]
    drawn = {one_caption(group, seed).turns[1].text for seed in range(40)}
    assert len(drawn) == 5
    assert one_caption(group, 3) == one_caption(group, 3)
    assert one_caption(group, 3).turns[0].text.startswith("Provide a one-sentence caption")


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 5))
def test_regions_are_cut_into_short_segments_and_none_is_lost(count, segment_turns, seed):
    box = Box(0.1, 0.2, 0.3, 0.4)
    group = [Region(str(n), "coco/train2017/5.jpg", f"cat {n}", box) for n in range(count)]
    records = region_segments("refcoco", group, seed, segment_turns)
    pairs = [
        pair
        for record in records
        for pair in zip(record.turns[::2], record.turns[1::2], strict=True)
    ]
    assert max(len(record.turns) for record in records) <= 2 * segment_turns
    assert len(pairs) == count
    assert len({record.id for record in records}) == len(records)
    for number, (question, answer) in enumerate(pairs):
        if question.text.startswith(DESCRIBE_REGION):
            assert question.text == f"{DESCRIBE_REGION}: {box_to_text(box)}"
            assert answer.text == f"cat {number}"
        else:
            assert question.text == f"{LOCATE_REGION}: cat {number}"
            assert answer.text == box_to_text(box)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_regions_are_sampled_into_one_conversation(count, limit, seed):
    box = Box(0.1, 0.2, 0.3, 0.4)
    group = [Region(str(n), "vg/VG_100K/5.jpg", f"cat {n}", box) for n in range(count)]
    record = sampled_regions("visual_genome", group, seed, limit)
    assert record == sampled_regions("visual_genome", group, seed, limit)
    texts = " ".join(turn.text for turn in record.turns) + " "
    shown = [n for n in range(count) if f"cat {n} " in texts]
    assert len(shown) == len(record.turns) // 2 == min(count, limit)


def test_another_seed_samples_other_regions():
    group = [Region(str(n), "vg/VG_100K/5.jpg", f"{n}", Box(0, 0, 1, 1)) for n in range(30)]
    drawn = {sampled_regions("visual_genome", group, seed, 3).turns for seed in range(20)}
    assert len(drawn) == 20


def test_every_source_has_its_response_format_in_the_table(raw):
    """The table says what is asked for: a source in it never asks otherwise."""
    for row in build_mixture(raw, MixtureConfig(), 0):
        formats = RESPONSE_FORMATS.get(row.source, ())
        first, *later = [turn.text for turn in row.turns if turn.role == "human"]
        if isinstance(formats, str):
            assert first.split("\n")[-1] == formats
            assert not any(formats in text for text in later)
        elif formats:
            assert all(text.startswith(formats) for text in (first, *later))
    open_ended = {"llava_instruct", "sharegpt", "grocery"}
    assert set(MIXTURE_SOURCES) - set(RESPONSE_FORMATS) == open_ended


def test_every_source_is_read_from_its_official_files(raw):
    rows = list(build_mixture(raw, MixtureConfig(), 0))
    assert not [row for row in rows if isinstance(row, Rejected)]
    assert counts(rows) == {
        "llava_instruct": 4,
        "sharegpt": 4,
        "vqav2": 4,  # 12 questions about 4 images
        "gqa": 4,
        "okvqa": 4,
        "ocrvqa": 4,
        "aokvqa": 16,  # once per choice
        "textcaps": 4,  # one of five captions
        "refcoco": 8,  # 12 expressions per image in segments of 9
        "visual_genome": 4,  # 10 of 14 regions
        "grocery": 4,
    }
    assert [row.source for row in rows] == sorted(
        (row.source for row in rows), key=MIXTURE_SOURCES.index
    )
    for row in rows:
        assert (row.image is None) == (row.source == "sharegpt")
        check_turns(row.turns, has_image=row.image is not None)


def test_the_released_mixture_is_read_as_it_is(raw):
    built = list(build_mixture(raw, MixtureConfig(), 0))
    put(raw / llava.MIX665K, [released_row(row) for row in built])
    read = list(build_mixture(raw, MixtureConfig(sources=("llava_mix665k",)), 0))
    assert [(row.id, row.image, row.turns) for row in read] == [
        (row.id, row.image, row.turns) for row in built
    ]
    pilot = build_mixture(raw, MixtureConfig(sources=("llava_mix665k",), pilot=0.5), 0)
    # Half of each data set in it, text-only rows among them.
    assert {name: 2 * count for name, count in folders_of(pilot).items()} == folders_of(read)


def released_row(row: Record) -> dict[str, Any]:
    texts = [turn.text for turn in row.turns]
    if row.image:
        texts[0] = f"<image>\n{texts[0]}"
    return llava_row(row.id, row.image, *texts)


def folders_of(rows: Iterable[Record | Rejected]) -> Counter[str | None]:
    return Counter(row.image and row.image.split("/")[0] for row in rows)


def test_the_same_seed_gives_the_same_rows_and_another_does_not(raw):
    config = MixtureConfig(limits={"vqav2": 2})
    first = list(build_mixture(raw, config, 0))
    assert first == list(build_mixture(raw, config, 0))
    assert first != list(build_mixture(raw, config, 1))
    assert counts(first)["vqav2"] == 2


@pytest.mark.parametrize("pilot", [0.25, 0.5, 1.0])
def test_a_pilot_is_a_share_of_every_source_after_its_limit(raw, pilot):
    limits = {"aokvqa": 8}
    whole = counts(build_mixture(raw, MixtureConfig(limits=limits), 0))
    part = list(build_mixture(raw, MixtureConfig(limits=limits, pilot=pilot), 0))
    assert counts(part) == {source: pilot * count for source, count in whole.items()}
    assert set(part) <= set(build_mixture(raw, MixtureConfig(limits=limits), 0))


def test_boxes_are_on_the_padded_square(raw):
    rows = build_mixture(raw, MixtureConfig(sources=("refcoco",)), 0)
    texts = [turn.text for row in rows for turn in row.turns]
    # [10, 0, 50, 40] of a 100 x 80 image, which gets 10 rows of padding on top.
    assert any("[0.10,0.10,0.60,0.50]" in text for text in texts)


def test_the_house_source_may_be_absent_and_a_public_one_may_not(raw):
    (raw / "grocery/grocery_train.json").unlink()
    assert "grocery" not in counts(build_mixture(raw, MixtureConfig(), 0))
    (raw / "gqa/train_balanced_questions.json").unlink()
    with pytest.raises(DataError, match="leave its source out"):
        list(build_mixture(raw, MixtureConfig(), 0))

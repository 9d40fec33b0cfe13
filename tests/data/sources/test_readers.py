"""Readers of the official files: bad rows are rejected one by one, bad files as a whole."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import DataError
from components.data.records import BadRecord, Record, Rejected
from components.data.sources import aokvqa, fields, gqa, refcoco, sharegpt, textcaps, vqa
from components.data.sources.boxes import Box
from tests.data.samples import llava_row, put
from tests.data.sources.test_boxes import from_square


def split(rows):
    rows = list(rows)
    return (
        [row for row in rows if not isinstance(row, Rejected)],
        [row.reason for row in rows if isinstance(row, Rejected)],
    )


def test_vqav2_rejects_what_it_cannot_pair(tmp_path):
    questions = [
        {"question_id": 1, "image_id": 9, "question": "Good?"},
        {"question_id": 2, "image_id": 9, "question": "No annotation?"},
        {"question_id": 3, "image_id": "x", "question": "Image?"},
        {"question_id": 4, "image_id": 9, "question": " "},
        "text",
    ]
    answers = [{"question_id": n, "multiple_choice_answer": "yes"} for n in (1, 3, 4)]
    put(tmp_path / vqa.VQAV2_FILES[0], {"questions": questions})
    put(tmp_path / vqa.VQAV2_FILES[1], {"annotations": answers})
    good, reasons = split(vqa.read_vqav2(tmp_path))
    assert [(row.image, row.answer) for row in good] == [("coco/train2017/000000000009.jpg", "yes")]
    assert reasons == [
        "no annotation in v2_mscoco_train2014_annotations.json",
        "`image_id` is 'x'; expected a whole number",
        "`question` is empty",
        "expected an object, found str",
    ]


def test_a_damaged_annotation_costs_its_question_only(tmp_path):
    questions = [{"question_id": n, "image_id": 9, "question": "Good?"} for n in range(4)]
    answers = [
        {"question_id": 0, "multiple_choice_answer": "yes"},
        {"question_id": 1, "multiple_choice_answer": ["yes"]},
        {"question_id": [], "multiple_choice_answer": "yes"},
        "text",
        {"question_id": 3, "multiple_choice_answer": "no"},
    ]
    put(tmp_path / vqa.VQAV2_FILES[0], {"questions": [*questions, questions[3]]})
    put(tmp_path / vqa.VQAV2_FILES[1], {"annotations": answers})
    good, reasons = split(vqa.read_vqav2(tmp_path))
    assert [(row.id, row.answer) for row in good] == [("0", "yes"), ("3", "no")]
    assert reasons == [
        "`multiple_choice_answer` is list; expected text",
        "no annotation in v2_mscoco_train2014_annotations.json",
        "duplicate: a row with `question_id` 3 came before",
    ]


def test_gqa_rejects_missing_fields(tmp_path):
    good_row = '{"imageId": "5", "question": "q", "answer": "a"}'
    put(
        tmp_path / "gqa/train_balanced_questions.json",
        f'{{"1": {good_row}, "2": {{"imageId": "5", "question": "q"}}, "1": {good_row}}}',
    )
    good, reasons = split(gqa.read(tmp_path))
    assert [row.image for row in good] == ["gqa/images/5.jpg"]
    assert reasons == ["`answer` is missing", "duplicate: a row with `question id` 1 came before"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"correct_choice_idx": 4}, "correct_choice_idx 4 of 4 choices"),
        ({"choices": []}, "`choices` is list; expected a list of texts"),
        ({"choices": ["a", 3]}, "`choices` is int; expected text"),
        ({"correct_choice_idx": True}, "`correct_choice_idx` is True"),
    ],
)
def test_aokvqa_rejects_impossible_choices(tmp_path, change, reason):
    row = {
        "image_id": 1,
        "question_id": "x",
        "question": "q",
        "choices": ["a", "b", "c", "d"],
        "correct_choice_idx": 0,
    }
    put(tmp_path / "aokvqa/aokvqa_v1p0_train.json", [row, {**row, **change}])
    good, reasons = split(aokvqa.read(tmp_path))
    assert len(good) == 1
    assert reason in reasons[0]


def test_textcaps_needs_the_official_object(tmp_path):
    put(tmp_path / "textcaps/TextCaps_0.1_train.json", [1])
    with pytest.raises(DataError, match="is it the official file"):
        list(textcaps.read(tmp_path))


SHAREGPT = {
    "plain": (["human", "q", "gpt", "a"], ["q", "a"]),
    "leading answer": (["gpt", "x", "human", "q", "gpt", "a"], ["q", "a"]),
    "system first": (["system", "x", "human", "q", "gpt", "a"], ["q", "a"]),
    "unanswered end": (["human", "q", "gpt", "a", "human", "q2"], ["q", "a"]),
    "other names": (["user", "q", "chatgpt", "a"], ["q", "a"]),
    "two questions": (["human", "q", "human", "q2", "gpt", "a"], "roles out of order"),
    "empty answer": (["human", "q", "gpt", " "], "empty answer"),
    "only a question": (["human", "q"], "no question with an answer"),
    "stranger": (["human", "q", "bing", "a"], "role 'bing'"),
    "restarted list": (["human", "q", "gpt", "1. one\n1. two\n1. three"], "starts over at 1"),
    "good list": (["human", "q", "gpt", "1. one\n2. two"], ["q", "1. one\n2. two"]),
}


@pytest.mark.parametrize(("items", "expected"), SHAREGPT.values(), ids=SHAREGPT)
def test_sharegpt_filter(tmp_path, items, expected):
    turns = [
        {"from": role, "value": text} for role, text in zip(items[::2], items[1::2], strict=True)
    ]
    put(tmp_path / "sharegpt/sharegpt_v3.json", [{"id": "s", "conversations": turns}])
    (row,) = sharegpt.read(tmp_path)
    if isinstance(expected, str):
        assert isinstance(row, Rejected)
        assert expected in row.reason
    else:
        assert isinstance(row, Record)
        assert [turn.text for turn in row.turns] == expected


def test_sharegpt_may_speak_of_images(tmp_path):
    put(
        tmp_path / "sharegpt/sharegpt_v3.json", [llava_row("s", None, "What is <image>?", "A tag.")]
    )
    (row,) = sharegpt.read(tmp_path)
    assert row.turns[0].text == "What is <image>?"


def test_refcoco_reads_the_train_split(raw):
    good, reasons = split(refcoco.read(raw))
    assert len(good) == 4 * 12
    assert reasons == []
    assert good[0].image == "coco/train2017/000000000000.jpg"


def test_refcoco_rejects_references_without_box(raw):
    path = raw / "refcoco" / refcoco.REFS
    refs = pickle.loads(path.read_bytes())
    refs[0]["ann_id"] = 12345
    refs[1]["sentences"] = []
    path.write_bytes(pickle.dumps(refs))
    good, reasons = split(refcoco.read(raw))
    assert len(good) == 2 * 12
    assert reasons == [
        "ann_id is not in instances.json",
        "`sentences` is empty",
    ]


def test_a_bad_expression_does_not_cost_its_reference(raw):
    path = raw / "refcoco" / refcoco.REFS
    refs = pickle.loads(path.read_bytes())
    refs[0]["sentences"][3] = {"sent": " "}
    path.write_bytes(pickle.dumps([*refs, refs[1]]))
    good, reasons = split(refcoco.read(raw))
    assert len(good) == 4 * 12 - 1
    assert reasons == ["`sent` is empty", "duplicate: a row with `ref_id` 1 came before"]


@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        ([1, 2, 3], "box [1, 2, 3] of a 100 x 80 image"),
        ([1, 2, "3", 4], "box [1, 2, '3', 4] of"),
        ([float("nan"), 2, 3, 4], "box [nan, 2, 3, 4] of"),
        ([10**400, 2, 3, 4], "of a 100 x 80 image"),
        ([1, 2, 0, 4], "holds nothing of a 100 x 80 image"),
        ([1, 2, 3, -4], "holds nothing"),
        ([100, 2, 30, 40], "holds nothing"),
        ([-40, 2, 30, 40], "holds nothing"),
    ],
)
def test_a_box_must_hold_a_part_of_its_image(corners, reason):
    with pytest.raises(BadRecord) as caught:
        fields.square_box(corners, 100, 80)
    assert reason in caught.value.reason


def test_a_box_over_the_edge_is_cut():
    assert fields.square_box([-5, -5, 205, 205], 100, 80) == Box(0.0, 0.1, 1.0, 0.9)


@pytest.mark.parametrize("value", ["1" * 5000, "-1", "1.0", "", True, 1.5, None])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(BadRecord, match="expected a whole number"):
        fields.integer({"id": value}, "id")


numbers = st.integers(-300, 300) | st.floats(-300, 300) | st.just(float("inf"))


@given(st.tuples(numbers, numbers, numbers, numbers), st.integers(0, 200), st.integers(1, 200))
def test_every_box_is_refused_or_lies_in_its_image(corners, width, height):
    try:
        box = fields.square_box(corners, width, height)
    except BadRecord:
        return
    assert 0 <= box.left < box.right <= 1
    assert 0 <= box.top < box.bottom <= 1
    pixels = from_square(box, width, height)
    assert min(pixels) >= -1e-6
    assert pixels.right <= width + 1e-6
    assert pixels.bottom <= height + 1e-6


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "from": st.sampled_from(["human", "user", "gpt", "chatgpt", "system", 1]),
                "value": st.sampled_from(["hello", "", "1. a\n1. b", None]),
            }
        ),
        max_size=8,
    )
)
def test_what_passes_the_sharegpt_filter_alternates(items):
    try:
        turns = sharegpt.clean({"conversations": items})
    except BadRecord:
        return
    assert [turn.role for turn in turns] == ["human", "gpt"] * (len(turns) // 2)
    assert [turn.text for turn in turns if turn.text != "hello"] == []

"""Every reader against bad rows and bad files: one wrong row is named and costs no other.

Each source has a way to write rows into its official files, a good row by number, and changes that
make a row bad, with the reason that is due.
"""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from components.core.errors import DataError
from components.data.records import Record, Rejected
from components.data.sources import (
    aokvqa,
    gqa,
    llava_instruct,
    llava_mix665k,
    llava_pretrain,
    ocrvqa,
    okvqa,
    refcoco,
    sharegpt,
    textcaps,
    visual_genome,
    vqav2,
)
from tests.data.samples import (
    book,
    described,
    llava_row,
    ok_annotation,
    ok_question,
    put,
    write_okvqa,
    write_visual_genome,
)


class Source(NamedTuple):
    read: Callable[[Path], Iterator[Any]]
    files: tuple[str, ...]
    """Its annotation files; the rows are in the first."""
    write: Callable[[Path, list[Any]], None]
    good: Callable[[int], Any]
    bad: dict[str, tuple[Any, str, str]]
    """Name of the fault: the row (or the change to good row 7), its id, and the reason."""


def text_object(rows: list[Any]) -> str:
    """A JSON object that may have a key twice; each row brings its key."""
    parts = []
    for place, row in enumerate(rows):
        key = row.get("key", place) if isinstance(row, dict) else place
        value = {k: v for k, v in row.items() if k != "key"} if isinstance(row, dict) else row
        parts.append(f"{json.dumps(str(key))}: {json.dumps(value)}")
    return "{" + ", ".join(parts) + "}"


def said(*words: str) -> list[dict[str, str]]:
    """Turns out of roles and texts by turns."""
    pairs = zip(words[::2], words[1::2], strict=True)
    return [{"from": role, "value": text} for role, text in pairs]


def write_vqav2(root: Path, rows: list[Any]) -> None:
    annotations = [{"question_id": n, "multiple_choice_answer": f"a{n}"} for n in range(9)]
    annotations[6]["multiple_choice_answer"] = ""
    annotations[5]["multiple_choice_answer"] = 5
    put(root / "vqav2" / vqav2.QUESTIONS, {"questions": rows})
    put(root / "vqav2" / vqav2.ANNOTATIONS, {"annotations": annotations})


def write_ok(root: Path, rows: list[Any]) -> None:
    annotations = [ok_annotation(n) for n in range(9)]
    annotations[6]["answers"] = []
    annotations[5]["answers"] = [{"answer": " "}, {"raw_answer": "x"}, 3]
    annotations[4]["answers"] = {"answer": "x"}
    write_okvqa(root, rows, annotations)


def write_references(root: Path, rows: list[Any]) -> None:
    path = root / "refcoco/refs(unc).p"
    put(path, pickle.dumps(rows, protocol=2))
    put(
        root / "refcoco/instances.json",
        {
            "annotations": [
                *({"id": n, "bbox": [1.0, 2.0, 30.0, 40.0]} for n in range(9)),
                {"id": 20, "bbox": [1.0, 2.0, 30.0]},
                {"id": 21, "bbox": [1.0, 2.0, 0.0, 40.0]},
                {"id": 22},
                "text",
            ],
            "images": [
                {"id": n, "file_name": f"COCO_train2014_{n:012d}.jpg", "width": 100, "height": 80}
                for n in range(9)
            ],
        },
    )


LLAVA_BAD: dict[str, tuple[Any, str, str]] = {
    "an array": ([1], "1", "expected an object, found list"),
    "a text": ("row", "1", "expected an object, found str"),
    "no conversations": ({"conversations": None}, "r7", "`conversations` must be a list"),
    "roles out of order": (
        {"conversations": said("human", "<image>\nq", "human", "q", "gpt", "a", "gpt", "b")},
        "r7",
        "turn 1: roles out of order, 'human' where 'gpt' is due",
    ),
    "a wrong type": ({"conversations": [{"from": "human", "value": 1}]}, "r7", "value is int"),
    "an empty answer": (
        {"conversations": llava_row("", "i", "<image>\nq", " ")["conversations"]},
        "r7",
        "turn 1: empty answer",
    ),
    "no image": ({"image": None}, "r7", "1 <image> placeholders but 0 images"),
    "two images": ({"image": ["a.jpg", "b.jpg"]}, "r7", "2 images in one row"),
    "no placeholder": (
        {"conversations": llava_row("", "i", "q", "a")["conversations"]},
        "r7",
        "0 <image> placeholders but 1 images",
    ),
    "two placeholders": (
        {"conversations": llava_row("", "i", "<image><image>q", "a")["conversations"]},
        "r7",
        "2 <image> placeholders but 1 images",
    ),
    "a placeholder too late": (
        {"conversations": llava_row("", "i", "q", "a", "<image>", "b")["conversations"]},
        "r7",
        "in a later question",
    ),
}

QUESTION_BAD: dict[str, tuple[Any, str, str]] = {
    "a text": ("row", "1", "expected an object, found str"),
    "no question": ({"question": None}, "7", "`question` is NoneType; expected text"),
    "an empty question": ({"question": " \n"}, "7", "`question` is empty"),
    "bytes that are no UTF-8": ({"question": "caf\udce9?"}, "7", "`question`: invalid UTF-8"),
    "no image": ({"image_id": None}, "7", "`image_id` is None; expected a whole number"),
    "no id": ({"question_id": None}, "1", "`question_id` is None"),
}


def with_id(bad: dict[str, tuple[Any, str, str]], name: str) -> dict[str, tuple[Any, str, str]]:
    return {key: (row, name if at == "7" else at, why) for key, (row, at, why) in bad.items()}


SOURCES = {
    "llava_pretrain": Source(
        llava_pretrain.read,
        ("llava_pretrain/blip_laion_cc_sbu_558k.json",),
        lambda root, rows: put(root / "llava_pretrain/blip_laion_cc_sbu_558k.json", rows),
        lambda n: llava_row(f"r{n}", f"0/{n}.jpg", "<image>\nq", f"a{n}"),
        LLAVA_BAD,
    ),
    "llava_instruct": Source(
        llava_instruct.read,
        ("llava_instruct/llava_instruct_150k.json",),
        lambda root, rows: put(root / "llava_instruct/llava_instruct_150k.json", rows),
        lambda n: llava_row(f"r{n}", f"{n}.jpg", "q\n<image>", f"a{n}", "q", "a"),
        LLAVA_BAD,
    ),
    "llava_mix665k": Source(
        llava_mix665k.read,
        (llava_mix665k.FILE,),
        lambda root, rows: put(root / llava_mix665k.FILE, rows),
        lambda n: llava_row(f"r{n}", f"coco/train2017/{n}.jpg", "<image>\nq", f"a{n}"),
        {
            **LLAVA_BAD,
            "a text-only row with a placeholder": (
                {"image": None, "model": ""},
                "r7",
                "1 <image> placeholders but 0 images",
            ),
        },
    ),
    "sharegpt": Source(
        sharegpt.read,
        ("sharegpt/sharegpt_v3.json",),
        lambda root, rows: put(root / "sharegpt/sharegpt_v3.json", rows),
        lambda n: llava_row(f"r{n}", None, "q", f"a{n}"),
        {
            "a text": ("row", "1", "`conversations` must be a list"),
            "no conversations": ({"conversations": {}}, "r7", "`conversations` must be a list"),
            "roles out of order": (
                {"conversations": said("human", "q", "human", "q", "gpt", "a")},
                "r7",
                "turn 1: roles out of order",
            ),
            "a wrong type": (
                {"conversations": [{"from": "human", "value": None}]},
                "r7",
                "expected `from` and `value` as text",
            ),
            "an empty answer": (
                {"conversations": llava_row("", None, "q", "")["conversations"]},
                "r7",
                "turn 1: empty answer",
            ),
        },
    ),
    "vqav2": Source(
        vqav2.read,
        (f"vqav2/{vqav2.QUESTIONS}", f"vqav2/{vqav2.ANNOTATIONS}"),
        write_vqav2,
        lambda n: {"question_id": n, "image_id": n, "question": f"q{n}?"},
        {
            **QUESTION_BAD,
            "no annotation": ({"question_id": 99}, "99", "no annotation in v2_mscoco"),
            "an empty answer": ({"question_id": 6}, "6", "`multiple_choice_answer` is empty"),
            "a wrong answer": ({"question_id": 5}, "5", "`multiple_choice_answer` is int"),
            "a duplicate": ({"question_id": 0}, "0", "duplicate: a row with `question_id` 0"),
        },
    ),
    "okvqa": Source(
        okvqa.read,
        (f"okvqa/{okvqa.QUESTIONS}", f"okvqa/{okvqa.ANNOTATIONS}"),
        write_ok,
        ok_question,
        {
            **with_id(QUESTION_BAD, "75"),
            "no annotation": ({"question_id": 99}, "99", "no annotation in mscoco_train2014"),
            "no answers": ({"question_id": 65}, "65", "`answers` is empty"),
            "empty answers": ({"question_id": 55}, "55", "`answers` holds no answer"),
            "a wrong type": ({"question_id": 45}, "45", "`answers` is dict; expected a list"),
            "a duplicate": ({"question_id": 5}, "5", "duplicate: a row with `question_id` 5"),
        },
    ),
    "gqa": Source(
        gqa.read,
        ("gqa/train_balanced_questions.json",),
        lambda root, rows: put(root / "gqa/train_balanced_questions.json", text_object(rows)),
        lambda n: {"key": f"k{n}", "imageId": f"{n}", "question": "q?", "answer": f"a{n}"},
        {
            "a text": ("row", "1", "expected an object, found str"),
            "no question": ({"question": []}, "k7", "`question` is list; expected text"),
            "an empty answer": ({"answer": ""}, "k7", "`answer` is empty"),
            "a wrong image": ({"imageId": 7}, "k7", "`imageId` is int; expected text"),
            "a duplicate": ({"key": "k0"}, "k0", "duplicate: a row with `question id` k0"),
        },
    ),
    "ocrvqa": Source(
        ocrvqa.read,
        (ocrvqa.FILE,),
        lambda root, rows: put(root / ocrvqa.FILE, text_object(rows)),
        lambda n: {"key": f"b{n}", **book(n)},
        {
            "a text": ("row", "1", "expected an object, found str"),
            "no split": ({"split": "train"}, "b7", "`split` is 'train'; expected a whole number"),
            "too few answers": ({"answers": ["x"]}, "b7", "2 questions but 1 answers"),
            "no questions": ({"questions": []}, "b7", "`questions` is empty"),
            "a wrong type": ({"questions": "q?"}, "b7", "`questions` is str; expected a list"),
            "a duplicate": ({"key": "b0"}, "b0", "duplicate: a row with `book` b0 came before"),
        },
    ),
    "aokvqa": Source(
        aokvqa.read,
        ("aokvqa/aokvqa_v1p0_train.json",),
        lambda root, rows: put(root / "aokvqa/aokvqa_v1p0_train.json", rows),
        lambda n: {
            "image_id": n,
            "question_id": f"q{n}",
            "question": "Which?",
            "choices": ["a", "b"],
            "correct_choice_idx": 1,
        },
        {
            **with_id(QUESTION_BAD, "q7"),
            "no such choice": ({"correct_choice_idx": 2}, "q7", "correct_choice_idx 2 of 2"),
            "an empty choice": ({"choices": ["a", ""]}, "q7", "`choices` is empty"),
            "a duplicate": ({"question_id": "q0"}, "q0", "duplicate: a row with `question_id` q0"),
        },
    ),
    "textcaps": Source(
        textcaps.read,
        ("textcaps/TextCaps_0.1_train.json",),
        lambda root, rows: put(root / "textcaps/TextCaps_0.1_train.json", {"data": rows}),
        lambda n: {"image_id": f"t{n}", "caption_str": f"caption {n}"},
        {
            "a text": ("row", "1", "expected an object, found str"),
            "an empty caption": ({"caption_str": ""}, "t7", "`caption_str` is empty"),
            "a wrong caption": ({"caption_str": ["x"]}, "t7", "`caption_str` is list"),
            "no image": ({"image_id": 7}, "7", "`image_id` is int; expected text"),
        },
    ),
    "refcoco": Source(
        refcoco.read,
        ("refcoco/refs(unc).p", "refcoco/instances.json"),
        write_references,
        lambda n: {
            "ref_id": n,
            "ann_id": n,
            "image_id": n,
            "split": "train",
            "sentences": [{"sent": f"the cat {k} "} for k in range(3)],
        },
        {
            "a text": ("row", "1", "expected an object, found str"),
            "no box": ({"ann_id": 99}, "7", "ann_id is not in instances.json"),
            "no image": ({"image_id": 99}, "7", "image_id is not in instances.json"),
            "half a box": ({"ann_id": 20}, "7", "box [1.0, 2.0, 30.0] of a 100 x 80 picture"),
            "an empty box": ({"ann_id": 21}, "7", "holds nothing of a 100 x 80 picture"),
            "a box of nothing": ({"ann_id": 22}, "7", "`bbox` is missing"),
            "no sentences": ({"sentences": None}, "7", "`sentences` is NoneType"),
            "a duplicate": ({"ref_id": 0}, "0", "duplicate: a row with `ref_id` 0 came before"),
        },
    ),
    "visual_genome": Source(
        visual_genome.read,
        ("vg/region_descriptions.json", "vg/image_data.json"),
        write_visual_genome,
        lambda n: described(n, 3),
        {
            "a text": ("row", "1", "expected an object, found str"),
            "no image": ({"id": 99}, "99", "id 99 is not in image_data.json"),
            "no regions": ({"regions": []}, "7", "`regions` is empty"),
            "a wrong type": ({"regions": {"phrase": "x"}}, "7", "`regions` is dict"),
            "a duplicate": ({"id": 0}, "0", "duplicate: a row with `id` 0 came before"),
        },
    ),
}
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

"""Faults of each source's rows.

Each source has a way to write rows into its official files, a good row by number, and changes that
make a row bad, with the reason that is due.
"""

import json
import pickle
from pathlib import Path
from typing import Any

from components.data.sources import (
    aokvqa,
    gqa,
    ocrvqa,
    refcoco,
    textcaps,
    visual_genome,
    vqa,
)
from tests.data.samples import (
    book,
    described,
    ok_annotation,
    ok_question,
    put,
    write_okvqa,
    write_visual_genome,
)
from tests.data.sources.bad_llava_rows import LLAVA_SOURCES, Source


def text_object(rows: list[Any]) -> str:
    """A JSON object that may have a key twice; each row brings its key."""
    parts = []
    for place, row in enumerate(rows):
        key = row.get("key", place) if isinstance(row, dict) else place
        value = {k: v for k, v in row.items() if k != "key"} if isinstance(row, dict) else row
        parts.append(f"{json.dumps(str(key))}: {json.dumps(value)}")
    return "{" + ", ".join(parts) + "}"


def write_vqav2(root: Path, rows: list[Any]) -> None:
    annotations = [{"question_id": n, "multiple_choice_answer": f"a{n}"} for n in range(9)]
    annotations[6]["multiple_choice_answer"] = ""
    annotations[5]["multiple_choice_answer"] = 5
    put(root / vqa.VQAV2_FILES[0], {"questions": rows})
    put(root / vqa.VQAV2_FILES[1], {"annotations": annotations})


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
    **LLAVA_SOURCES,
    "vqav2": Source(
        vqa.read_vqav2,
        vqa.VQAV2_FILES,
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
        vqa.read_okvqa,
        vqa.OKVQA_FILES,
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
            "half a box": ({"ann_id": 20}, "7", "box [1.0, 2.0, 30.0] of a 100 x 80 image"),
            "an empty box": ({"ann_id": 21}, "7", "holds nothing of a 100 x 80 image"),
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

"""POPE's text rule, formula and joins."""

import json
from pathlib import Path

import pytest

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmarks.pope import BENCHMARK, SPLITS
from components.evaluation.scoring.score import predict, summarise


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("No", "no"),
        ("no", "no"),
        ("No.", "no"),
        ("not sure", "no"),
        ("no, there is a dog", "no"),
        ("There is no dog", "no"),
        ("Yes, not that I know. No", "no"),
        ("Yes. No dog here", "yes"),  # only the first sentence counts
        ("Yes", "yes"),
        ("NO", "yes"),
        ("Nope", "yes"),
        ("no!", "yes"),
        ("It isn't", "yes"),
        ("Not there", "yes"),
        ("", "yes"),
        (" no", "no"),
        ("a\nno", "yes"),  # split at single spaces only
        ("no,no", "yes"),  # the comma goes and "nono" stays
    ],
)
def test_answers_are_read_as_the_original_reads_them(raw: str, answer: str) -> None:
    assert BENCHMARK.parse(raw, None) == answer  # type: ignore[arg-type] # reads no question


def write(root: Path, per_split: int = 4, order: int = 1, with_prompts: bool = True) -> Path:
    """Splits that ask about the same images; even numbers are present."""
    root.mkdir(parents=True, exist_ok=True)
    prompts = []
    for split in SPLITS:
        rows = [
            {
                "question_id": n + 1,
                "image": f"COCO_{n // 2}.jpg",
                "text": f"Is there a {split} thing {n}?",
                "label": "no" if n % 2 else "yes",
            }
            for n in range(per_split)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / f"coco_pope_{split}.json").write_text(text)
        for row in rows:
            prompt = f"{row['text']}\n{SHORT_ANSWER}"
            number = len(prompts)
            prompts.append({**row, "question_id": number, "text": prompt, "category": split})
    if with_prompts:
        lines = [json.dumps({k: v for k, v in p.items() if k != "label"}) for p in prompts]
        (root / "llava_pope_test.jsonl").write_text("\n".join(lines[::order]))
    return root


def test_labels_are_found_whatever_the_order(tmp_path: Path) -> None:
    forward = {q.id: q for q in BENCHMARK.read(write(tmp_path / "a"))}
    backward = BENCHMARK.read(write(tmp_path / "b", order=-1))
    assert [q.id for q in backward] == list(forward)[::-1]
    for question in backward:
        assert question.target == forward[question.id].target
        assert question.target == ("no" if question.prompt.split("?")[0][-1] in "13" else "yes")
    assert next(iter(forward.values())).prompt.endswith(f"?\n{SHORT_ANSWER}")


def test_the_prompt_is_the_same_without_the_originals_question_file(tmp_path: Path) -> None:
    with_file = BENCHMARK.read(write(tmp_path / "a"))
    without = BENCHMARK.read(write(tmp_path / "b", with_prompts=False))
    assert [q.prompt for q in with_file] == [q.prompt for q in without]
    assert len({q.id for q in without}) == len(without) == 12


def test_files_of_two_versions_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "pope")
    write(tmp_path / "other", per_split=2)
    labels = (tmp_path / "other" / "coco_pope_random.json").read_text()
    (root / "coco_pope_random.json").write_text(labels)
    with pytest.raises(DataError, match=r"llava_pope_test.jsonl:3: no label in coco_pope_random"):
        BENCHMARK.read(root)


def test_f1_is_the_mean_of_the_splits(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path / "pope", per_split=8))
    # Random all right; popular always yes (precision 1/2, recall 1: F1 2/3); adversarial never yes.
    always = {"popular": "yes", "adversarial": "no"}
    raws = {q.id: always.get(q.meta["split"], q.target) for q in questions}
    predictions = predict(BENCHMARK, questions, raws)
    scores = summarise(BENCHMARK, predictions)
    assert scores.headline_percent == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)
    assert scores.details["random/f1"] == 100.0
    assert scores.details["popular/precision"] == 50.0
    assert scores.details["popular/yes_ratio"] == 100.0
    assert scores.details["adversarial/accuracy"] == 50.0


def test_a_missing_answer_is_wrong_on_either_side(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path / "pope"))
    raws = {q.id: q.target for q in questions if not q.id.startswith("random")}
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
    assert scores.num_missing == 4
    assert scores.details["random/accuracy"] == 0.0
    assert scores.headline_percent == pytest.approx(100 * 2 / 3)
    assert "incomplete: 4 of 12" in scores.note


def test_an_absent_split_is_left_out_of_the_mean(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path / "pope"))
    part = [q for q in questions if q.id.startswith("random")]
    scores = summarise(BENCHMARK, predict(BENCHMARK, part, {q.id: q.target for q in part}))
    assert scores.headline_percent == 100.0
    assert {name.split("/")[0] for name in scores.details} == {"random"}

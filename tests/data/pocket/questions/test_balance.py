"""How far an answer gets that never looks: measured on every benchmark, and bounded."""

import csv
import io
import json
import random
import sys
from collections import Counter, defaultdict

import pytest

from components.data.pocket.config import PocketConfig
from components.data.pocket.files import writing as files
from components.data.pocket.world import BENCHMARKS, write_world

BLIND_AT_MOST = {
    "vqav2": 45, "gqa": 55, "mmbench": 40, "textvqa": 20, "pope": 60, "mme": 65, "vizwiz": 50,
    "scienceqa": 45, "mmbench_cn": 50, "seed": 40,
}  # fmt: skip
"""Percent of questions; a yes/no benchmark cannot go below 50."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A world of the default size without its images, which takes a third of the time."""
    path = tmp_path_factory.mktemp("default")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.RawFolder, "image", lambda self, path, scene: None)
        patch.setattr(files.RawFolder, "blurred", lambda self, path, scene: None)
        patch.setattr("components.data.pocket.files.benchmarks.encode_image", lambda scene: b"")
        write_world(PocketConfig(num_caption_images=1), path)
    return path


def rows_of(root, name: str) -> list[tuple[str, str]]:
    """(question, answer) of a benchmark."""
    base = root / "eval" / name
    if name == "vqav2":
        asked = json.loads((base / "v2_OpenEnded_mscoco_val2014_questions.json").read_text())
        answered = json.loads((base / "v2_mscoco_val2014_annotations.json").read_text())
        pairs = zip(asked["questions"], answered["annotations"], strict=True)
        return [(q["question"], a["multiple_choice_answer"]) for q, a in pairs]
    if name == "gqa":
        entries = json.loads((base / "testdev_balanced_questions.json").read_text()).values()
        return [(entry["question"], entry["answer"]) for entry in entries]
    if name == "textvqa":
        entries = json.loads((base / "TextVQA_0.5.1_val.json").read_text())["data"]
        return [(entry["question"], entry["answers"][0]) for entry in entries]
    if name == "pope":
        lines = (base / "coco_pope_random.json").read_text().splitlines()
        return [(row["text"], row["label"]) for row in map(json.loads, lines)]
    if name == "mme":
        texts = sorted((root / "eval/MME/MME_Benchmark_release_version").rglob("*.txt"))
        lines = [line for text in texts for line in text.read_text().splitlines()]
        return [(line.split(" Please")[0], line.split("\t")[1].lower()) for line in lines]
    if name == "vizwiz":
        entries = json.loads((base / "val.json").read_text())
        return [
            (e["question"], _majority(human["answer"] for human in e["answers"])) for e in entries
        ]
    if name == "scienceqa":
        entries = json.loads((base / "problems.json").read_text()).values()
        return [(e["question"], "ABCD"[e["answer"]]) for e in entries if e["image"]]
    if name == "seed":
        entries = json.loads((root / "eval/seed_bench/SEED-Bench.json").read_text())["questions"]
        return [(entry["question"], entry["answer"]) for entry in entries]
    csv.field_size_limit(sys.maxsize)
    (path,) = base.glob("*.tsv")
    table = io.StringIO(path.read_text())
    rows = csv.DictReader(table, delimiter="\t")
    return [(row["question"], row["answer"]) for row in rows]


def _majority(words) -> str:
    return Counter(words).most_common(1)[0][0]


def opening(question: str) -> str:
    """The kind of question: its words without object, colour and place."""
    return " ".join(question.lower().split()[:3])


@pytest.mark.parametrize("name", BLIND_AT_MOST)
def test_the_best_answer_per_kind_of_question_gains_little(root, name):
    rows = rows_of(root, name)
    by_kind: dict[str, Counter] = defaultdict(Counter)
    for question, answer in rows:
        by_kind[opening(question)][answer] += 1
    blind = 100 * sum(max(answers.values()) for answers in by_kind.values()) / len(rows)
    common = 100 * Counter(answer for _, answer in rows).most_common(1)[0][1] / len(rows)
    print(f"{name}: {len(rows)} questions, best single answer {common:.0f}%, per kind {blind:.0f}%")
    assert blind <= BLIND_AT_MOST[name]


def test_yes_and_no_are_equally_frequent(root):
    for name in ("vqav2", "gqa", "pope", "mme"):
        answers = Counter(answer for _, answer in rows_of(root, name))
        assert abs(answers["yes"] - answers["no"]) <= 2, (name, answers)


def test_training_answers_are_balanced_per_question(root):
    """In training too, no question text may give its answer away."""
    asked = json.loads((root / "vqav2/v2_OpenEnded_mscoco_train2014_questions.json").read_text())
    answered = json.loads((root / "vqav2/v2_mscoco_train2014_annotations.json").read_text())
    by_kind: dict[str, Counter] = defaultdict(Counter)
    for question, answer in zip(asked["questions"], answered["annotations"], strict=True):
        by_kind[opening(question["question"])][answer["multiple_choice_answer"]] += 1
    for kind, answers in by_kind.items():
        total = sum(answers.values())
        if total > 100 and set(answers) == {"yes", "no"}:
            assert 0.4 < answers["yes"] / total < 0.6, (kind, answers)
        elif total > 100:
            assert max(answers.values()) / total < 0.45, (kind, answers)


@pytest.mark.parametrize("seed", range(1, 7))
def test_every_seed_can_be_written(tmp_path, monkeypatch, seed):
    """A wish that no scene of its kind can grant would be looked for without end."""
    monkeypatch.setattr(files.RawFolder, "image", lambda self, path, scene: None)
    monkeypatch.setattr(files.RawFolder, "blurred", lambda self, path, scene: None)
    monkeypatch.setattr("components.data.pocket.files.benchmarks.encode_image", lambda scene: b"")
    folder = files.RawFolder(tmp_path)
    for name, write in BENCHMARKS:
        write(folder, PocketConfig(num_benchmark_questions=100), random.Random(f"{seed}/{name}"))
    assert len({path.split("/")[1] for path in folder.num_rows}) == len(BENCHMARKS)

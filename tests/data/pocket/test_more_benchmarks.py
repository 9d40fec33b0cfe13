"""VizWiz, ScienceQA, MMBench-CN and SEED-Bench as written: true to their scenes."""

import csv
import io
import re
import sys
from collections import Counter

import pytest

from components.data.pocket.questions.chinese import option_in_chinese, question_in_chinese
from components.data.pocket.questions.choices import CHOICES, USES
from components.data.pocket.questions.phrases import detail
from components.data.pocket.things import COLOURS, OBJECTS
from components.evaluation.benchmark import get_benchmark
from components.evaluation.scoring.score import predict, summarise
from tests.data.pocket.reading import right_options, thing, truth

LETTERS = "ABCD"


def test_vizwiz_answers_are_true_and_the_rest_cannot_be_told(world):
    rows = world.json("eval/vizwiz/val.json")
    kinds = Counter()
    for row in rows:
        path = f"eval/vizwiz/val/{row['image']}"
        scene, words = world.scenes[path], [human["answer"] for human in row["answers"]]
        assert len(words) == 10
        assert {human["answer_confidence"] for human in row["answers"]} <= {"yes", "maybe", "no"}
        kinds[row["answerable"], path in world.blurred] += 1
        if row["answerable"]:
            assert path not in world.blurred
            right = truth(scene, row["question"]).lower()
            assert words.count(right) >= 8
            continue
        assert row["answer_type"] == "unanswerable"
        assert words.count("unanswerable") == 8
        if path not in world.blurred:
            with pytest.raises((AssertionError, AttributeError)):
                truth(scene, row["question"])
    assert kinds[0, False] >= 5
    assert kinds[0, True] >= 10
    assert kinds[1, False] == len(rows) - kinds[0, False] - kinds[0, True]
    assert 0.2 < (kinds[0, False] + kinds[0, True]) / len(rows) < 0.35


def test_vizwiz_questions_do_not_tell_whether_they_can_be_answered(world):
    by_kind = {}
    for row in world.json("eval/vizwiz/val.json"):
        kind = " ".join(row["question"].split()[:2])
        by_kind.setdefault(kind, Counter())[row["answerable"]] += 1
    assert all(counts[1] for counts in by_kind.values()), by_kind
    for kind, counts in by_kind.items():
        if counts.total() >= 10:
            assert counts[0] / counts.total() < 0.45, (kind, counts)


def test_vizwiz_test_split_has_no_answers(world):
    rows = world.lines("eval/vizwiz/llava_test.jsonl")
    assert len(rows) == 24
    for number, row in enumerate(rows):
        assert set(row) == {"question_id", "image", "text", "category"}
        assert row["question_id"] == number
        assert f"eval/vizwiz/test/{row['image']}" in world.scenes


def test_scienceqa_answers_are_true(world):
    problems = world.json("eval/scienceqa/problems.json")
    assert world.json("eval/scienceqa/pid_splits.json")["test"] == list(problems)
    sources = Counter()
    for key, problem in problems.items():
        right = problem["choices"][problem["answer"]]
        sources[bool(problem["image"]), bool(problem["hint"])] += 1
        if problem["image"]:
            scene = world.scenes[f"eval/scienceqa/images/test/{key}/image.png"]
            assert right_options(scene, problem["question"], problem["choices"]) == [right]
        elif problem["hint"]:
            (place,) = re.findall(r"What is ((?:at|in) the [a-z ]+)\?", problem["question"])
            sentence = re.search(rf"{place} there (?:is|are) (.+?)(?: on a \w+ mat)?\.",
                                 problem["hint"], re.IGNORECASE)  # fmt: skip
            assert thing(sentence[1]) == right
        else:
            (name,) = re.findall(r"What is true of (.+)\?", problem["question"])
            assert USES[thing(name)] == right
    assert sources == {(True, False): 60, (True, True): 20, (False, True): 20, (False, False): 20}
    sizes = Counter(len(problem["choices"]) for problem in problems.values())
    assert sizes == {2: 30, 3: 30, 4: 60}


def test_scienceqa_prompts_are_made_of_the_problems(world):
    rows = world.json("eval/scienceqa/llava_test_CQM-A.json")
    folder = world.root / "eval/scienceqa"
    with_file = get_benchmark("scienceqa").read(folder)
    assert [row["id"] for row in rows] == [question.id for question in with_file]
    for row, question in zip(rows, with_file, strict=True):
        text = row["conversations"][0]["value"]
        assert ("image" in row) == text.startswith("<image>\n") == bool(question.image_path)
        assert question.prompt.startswith(text.removeprefix("<image>\n"))


def test_mmbench_cn_asks_in_chinese_what_is_true(world):
    csv.field_size_limit(sys.maxsize)
    text = (world.root / "eval/mmbench_cn/mmbench_dev_cn_20231003.tsv").read_text()
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    scenes = world.table_scenes[24:]
    assert len(scenes) == 24
    back = {option_in_chinese(word): word for word in _options()}
    for row in rows:
        assert not row["question"].isascii()
        scene = scenes[int(row["index"]) % 1_000_000]
        options = [back.get(row[letter], row[letter]) for letter in LETTERS]
        (question,) = {q for q in _questions(scene) if question_in_chinese(q) == row["question"]}
        assert right_options(scene, question, options) == [options[LETTERS.index(row["answer"])]]
    assert Counter(row["answer"] for row in rows) == dict.fromkeys(LETTERS, 24)


def _options() -> list[str]:
    return [*(kind.name for kind in OBJECTS), *COLOURS, *USES.values()]


def _questions(scene) -> set[str]:
    """Every question that may be asked about a scene."""
    import random

    found = set()
    for seed in range(60):
        for family in CHOICES.values():
            choice = family(scene, random.Random(seed))
            if choice is not None and "not in the image" not in choice.question:
                found.add(choice.question)
    return found


def test_every_option_and_question_has_its_own_chinese():
    assert len({option_in_chinese(word) for word in _options()}) == len(_options())
    assert option_in_chinese("STOP") == "STOP"
    assert option_in_chinese("3") == "3"
    with pytest.raises(AssertionError, match="no Chinese"):
        option_in_chinese("zebra")
    with pytest.raises(AssertionError, match="no Chinese"):
        question_in_chinese("Why?")


def test_seed_answers_are_true_in_eight_dimensions(world):
    value = world.json("eval/seed_bench/SEED-Bench.json")
    prompts = {
        str(r["question_id"]): r for r in world.lines("eval/seed_bench/llava-seed-bench.jsonl")
    }
    names = {number: name for name, number in value["question_type"].items()}
    assert len(names) == 12
    seen = Counter()
    for row in value["questions"]:
        prompt = prompts[row["question_id"]]
        scene = world.scenes[f"eval/seed_bench/{prompt['image']}"]
        options = [row[f"choice_{letter}"] for letter in "abcd"]
        right = options[LETTERS.index(row["answer"])]
        question = row["question"].replace("video", "image")
        assert right_options(scene, question, options) == [right]
        assert prompt["category"] == names[row["question_type_id"]]
        assert (row["data_type"] == "video") == (row["question_type_id"] >= 10)
        seen[prompt["category"], row["data_type"]] += 1
    assert len(seen) == 8
    assert seen["Action Recognition", "video"] == 15
    assert Counter(row["answer"] for row in value["questions"]) == dict.fromkeys(LETTERS, 30)


@pytest.mark.parametrize("name", ["vizwiz", "scienceqa", "mmbench_cn", "seed"])
def test_the_right_answers_score_full_marks(world, name):
    benchmark = get_benchmark(name)
    questions = benchmark.read(world.root / "eval" / benchmark.folder)
    raws = {
        q.id: Counter(q.target).most_common(1)[0][0] if name == "vizwiz" else q.target
        for q in questions
    }
    scores = summarise(benchmark, predict(benchmark, questions, raws), samples=100)
    assert scores.headline_percent == 100.0
    assert all(question.image_bytes or question.image_path for question in questions) == (
        name != "scienceqa"
    )


def test_contexts_are_descriptions(world):
    hints = {row["hint"] for row in world.json("eval/scienceqa/problems.json").values()}
    texts = {detail(scene) for scene in world.scenes.values()}
    assert "" in hints
    assert not hints & texts  # a described scene is not also shown

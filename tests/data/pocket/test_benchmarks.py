"""The world's own POPE, TextVQA, MME, MMBench and grocery questions: true, balanced, whole."""

import base64
import csv
import io
import sys
from collections import Counter

from components.data.pocket.questions.phrases import GROCERY_INSTRUCTION
from components.data.pocket.things import FRUIT, SIGN_WORDS
from tests.data.pocket.reading import right_options, truth


def test_pope_labels_are_true_and_balanced(world):
    prompted = world.lines("eval/pope/llava_pope_test.jsonl")
    assert len({row["question_id"] for row in prompted}) == len(prompted)
    for split in ("random", "popular", "adversarial"):
        rows = world.lines(f"eval/pope/coco_pope_{split}.json")
        assert Counter(row["label"] for row in rows) == {"yes": 40, "no": 40}
        for row in rows:
            scene = world.scenes[f"eval/pope/val2014/{row['image']}"]
            assert row["label"] == truth(scene, row["text"])
        texts = [row["text"] for row in prompted if row["category"] == split]
        line = "\nAnswer the question using a single word or phrase."
        assert texts == [row["text"] + line for row in rows]


def test_textvqa_tokens_hold_the_word_and_sometimes_another(world):
    rows = world.json("eval/textvqa/TextVQA_0.5.1_val.json")["data"]
    prompts = world.lines("eval/textvqa/llava_textvqa_val_v051_ocr.jsonl")
    lengths = Counter()
    for row, prompt in zip(rows, prompts, strict=True):
        word = world.scenes[f"eval/textvqa/train_images/{row['image_id']}.jpg"].sign.word
        assert row["answers"] == [word.lower()] * 10
        question, tokens, line = prompt["text"].split("\n")
        assert question == row["question"]
        listed = tokens.removeprefix("Reference OCR token: ").split(", ")
        assert word in listed
        assert set(listed) <= set(SIGN_WORDS)
        assert line == "Answer the question using a single word or phrase."
        lengths[len(listed)] += 1
    assert lengths == {1: 60, 2: 60}


def test_mme_asks_one_yes_and_one_no_of_each_image(world):
    root = "eval/MME/MME_Benchmark_release_version"
    prompted = Counter(
        (row["image"], row["text"].split("\n")[0])
        for row in world.lines("eval/MME/llava_mme.jsonl")
    )
    seen = Counter()
    for path, scene in world.scenes.items():
        if not path.startswith(root):
            continue
        lines = (world.root / path).with_suffix(".txt").read_text().splitlines()
        assert sorted(line.split("\t")[1] for line in lines) == ["No", "Yes"]
        for line in lines:
            text, answer = line.split("\t")
            question = text.removesuffix(" Please answer yes or no.")
            assert truth(scene, question) == answer.lower()
            seen[path.removeprefix(f"{root}/"), question] += 1
    assert seen == prompted
    assert set(seen.values()) == {1}


def test_mmbench_rotates_every_question(world):
    csv.field_size_limit(sys.maxsize)
    text = (world.root / "eval/mmbench/mmbench_dev_20230712.tsv").read_text()
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    groups: dict[int, list[dict]] = {}
    for row in rows:
        groups.setdefault(int(row["index"]) % 1_000_000, []).append(row)
    for number, group in groups.items():
        scene = world.table_scenes[number]
        assert [int(row["index"]) // 1_000_000 for row in group] == [0, 1, 2, 3]
        assert {row["answer"] for row in group} == set("ABCD")
        for row in group:
            options = [row[letter] for letter in "ABCD"]
            assert right_options(scene, row["question"], options) == [row[row["answer"]]]
        assert len({base64.b64decode(row["image"]) for row in group}) == 1


def test_grocery_targets_are_the_fruit_of_the_image(world):
    numbers = Counter()
    for row in world.lines("eval/grocery/questions.jsonl"):
        scene = world.scenes[f"eval/grocery/images/{row['image']}"]
        shown = list(dict.fromkeys(p.name for p in scene.objects if p.name in FRUIT))
        assert row["target"] == shown == [item["name"] for item in row["nutrition"]]
        assert row["text"] == GROCERY_INSTRUCTION
        numbers[len(shown)] += 1
    assert numbers == {0: 2, 1: 4, 2: 6, 3: 4}

"""The benchmarks of the pocket world, each in the official files that the scorers read.

In: a `RawFolder` to write to, the settings, a random generator per benchmark. Out: POPE (three
splits), VQAv2 val, GQA test-dev, TextVQA val, MME, MMBench dev and the house's own groceries, below
`eval/`. Every scene is of the evaluation split. Answers are balanced: half of the yes/no answers
are yes, asked counts run evenly from 1 to 4, every option letter is right equally often; so an
answer from the words alone gains little. Formats: shared facts of the official scorers.
"""

import base64
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from components.data.pocket.config import PocketConfig
from components.data.pocket.files.annotations import write_vqa_pair
from components.data.pocket.files.formats import gqa_entry, vqa_rows
from components.data.pocket.files.llava import draw_scenes
from components.data.pocket.files.writing import RawFolder, encode_image
from components.data.pocket.questions import choices, phrases
from components.data.pocket.questions.asked import NAMES, SIGN_QUESTIONS
from components.data.pocket.questions.balance import (
    GQA_DECK,
    VQA_DECK,
    find,
    images,
    kinds_for,
    yes_and_no,
)
from components.data.pocket.questions.yes_no import presence_of
from components.data.pocket.scenes.scene import SCENE_PX, Scene
from components.data.pocket.things import BY_NAME, FRUIT, SIGN_WORDS
from components.data.response_formats import SHORT_ANSWER

COCO_IDS = range(42, 581_930)
LETTERS = "ABCD"
ROTATION = 1_000_000
NUM_POPULAR = 10
NUM_FRUIT = (1, 2, 3, 2, 1, 2, 3, 0)  # fruit in the grocery images, in turn

MME_FAMILIES: dict[str, tuple[str, ...]] = {  # subtask -> families, in turn
    "existence": ("presence",),
    "count": ("exact count",),
    "position": ("place", "relation"),
    "color": ("background check", "mat check"),
    "OCR": ("sign check",),
    "commonsense_reasoning": ("category",),
}
MMBENCH_DECK: tuple[tuple[str, str, str], ...] = (  # family, category, l2-category
    ("what at", "spatial_relationship", "finegrained_perception (cross-instance)"),
    ("present", "object_localization", "finegrained_perception (instance-level)"),
    ("background", "image_style", "coarse_perception"),
    ("what at", "spatial_relationship", "finegrained_perception (cross-instance)"),
    ("mat", "attribute_recognition", "finegrained_perception (instance-level)"),
    ("present", "object_localization", "finegrained_perception (instance-level)"),
    ("known for", "function_reasoning", "attribute_reasoning"),
    ("sign", "ocr", "finegrained_perception (instance-level)"),
    ("edible", "physical_property_reasoning", "attribute_reasoning"),
    ("count", "object_localization", "finegrained_perception (instance-level)"),
)
MMBENCH_COLUMNS = (
    "index", "question", "hint", *LETTERS, "answer", "category", "image", "source", "l2-category",
    "comment", "split",
)  # fmt: skip


def write_pope(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write POPE: per image one object that is there and, in each split, one that is not."""
    ids = rng.sample(COCO_IDS, max(1, config.num_benchmark_questions // 3))
    scenes = dict(
        zip(
            ids,
            draw_scenes(rng, len(ids), {"objects": 0.7, "sign": 0.15, "groceries": 0.15}, "eval"),
            strict=True,
        )
    )
    for image_id, scene in scenes.items():
        folder.image(f"eval/pope/val2014/{_val_name(image_id)}", scene)
    present = {image_id: rng.choice(scene.names()) for image_id, scene in scenes.items()}
    popular = [
        name for name, _ in Counter(n for s in scenes.values() for n in s.names()).most_common()
    ]
    prompted: list[dict[str, Any]] = []
    for split in ("random", "popular", "adversarial"):
        rows: list[dict[str, Any]] = []
        for image_id, scene in scenes.items():
            absent = _absent(scene, split, popular, rng)
            for asked in (presence_of(scene, name) for name in (present[image_id], absent)):
                row = {
                    "question_id": len(rows) + 1,
                    "image": _val_name(image_id),
                    "text": asked.question,
                }
                rows.append({**row, "label": asked.answer})
                text = f"{asked.question}\n{SHORT_ANSWER}"
                prompted.append(
                    {**row, "question_id": len(prompted), "text": text, "category": split}
                )
        folder.lines(f"eval/pope/coco_pope_{split}.json", rows)
    folder.lines("eval/pope/llava_pope_test.jsonl", prompted)


def write_vqav2(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write the VQAv2 validation split. As in the official file, answers are in lower case."""
    asked: list[dict[str, Any]] = []
    answered: list[dict[str, Any]] = []
    prompted: list[dict[str, Any]] = []
    drawn = images(rng, VQA_DECK, config.num_benchmark_questions)
    ids = rng.sample(COCO_IDS, len(drawn))
    for image_id, (scene, about) in zip(ids, drawn, strict=True):
        folder.image(f"eval/vqav2/val2014/{_val_name(image_id)}", scene)
        for number, one in enumerate(about):
            lowered = replace(one, answer=one.answer.lower())
            question, annotation = vqa_rows(image_id, number, lowered, rng)
            asked.append(question)
            answered.append(annotation)
            prompted.append(_prompt(question["question_id"], _val_name(image_id), one.question))
    write_vqa_pair(folder, "eval/vqav2", "val2014", asked, answered)
    folder.lines("eval/vqav2/llava_vqav2_val.jsonl", prompted)


def write_gqa(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write GQA's balanced test-dev questions."""
    entries: dict[str, dict[str, Any]] = {}
    prompted: list[dict[str, Any]] = []
    for number, (scene, about) in enumerate(images(rng, GQA_DECK, config.num_benchmark_questions)):
        image_id = f"n{100_000 + number}"
        folder.image(f"eval/gqa/images/{image_id}.jpg", scene)
        for one in about:
            key = str(201_000_000 + len(entries))
            entries[key] = gqa_entry(key, image_id, one)
            prompted.append(_prompt(key, f"{image_id}.jpg", one.question))
    folder.json("eval/gqa/testdev_balanced_questions.json", entries, len(entries))
    folder.lines("eval/gqa/llava_gqa_testdev_balanced.jsonl", prompted)


def write_textvqa(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write TextVQA's validation split.

    Half the prompts' OCR tokens hold a second word, which is not in the image.
    """
    rows: list[dict[str, Any]] = []
    prompted: list[dict[str, Any]] = []
    for number, scene in enumerate(
        draw_scenes(rng, config.num_benchmark_questions, {"sign": 1.0}, "eval")
    ):
        assert scene.sign
        image_id = hashlib.sha256(f"textvqa {number}".encode()).hexdigest()[:16]
        folder.image(f"eval/textvqa/train_images/{image_id}.jpg", scene)
        word = scene.sign.word
        tokens = [word]
        if number % 2:
            tokens.append(rng.choice([other for other in SIGN_WORDS if other != word]))
            rng.shuffle(tokens)
        question = SIGN_QUESTIONS[number // 2 % len(SIGN_QUESTIONS)]
        rows.append(
            {
                "question": question,
                "image_id": image_id,
                "image_classes": [name.capitalize() for name in scene.names()],
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "image_width": SCENE_PX,
                "image_height": SCENE_PX,
                "answers": [word.lower()] * 10,
                "question_tokens": question.rstrip("?").split(),
                "ocr_tokens": tokens,
                "question_id": 34_602 + number,
                "set_name": "val",
            }
        )
        text = f"{question}\nReference OCR token: {', '.join(tokens)}"
        prompted.append(_prompt(image_id, f"{image_id}.jpg", text))
    head = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    folder.json("eval/textvqa/TextVQA_0.5.1_val.json", {**head, "data": rows}, len(rows))
    folder.lines("eval/textvqa/llava_textvqa_val_v051_ocr.jsonl", prompted)


def write_mme(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write MME: about each image one question whose answer is yes and one whose is no."""
    prompted: list[dict[str, Any]] = []
    per_subtask = max(1, config.num_benchmark_questions // (2 * len(MME_FAMILIES)))
    for subtask, families in MME_FAMILIES.items():
        for number in range(per_subtask):
            family = families[number % len(families)]
            scene, pair = find(rng, kinds_for(family), partial(yes_and_no, rng=rng, family=family))
            name = f"{subtask}/{number + 1:04d}.jpg"
            base = f"eval/MME/MME_Benchmark_release_version/{name}"
            folder.image(base, scene)
            lines = [
                f"{one.question} Please answer yes or no.\t{one.answer.capitalize()}\n"
                for one in pair
            ]
            folder.bytes(f"{base.removesuffix('.jpg')}.txt", "".join(lines).encode())
            prompted += [_prompt(name, name, one.question, subtask) for one in pair]
    folder.lines("eval/MME/llava_mme.jsonl", prompted)


def write_mmbench(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write MMBench's dev table: every question once per rotation of its options."""
    write_choice_table(folder, "eval/mmbench/mmbench_dev_20230712.tsv", config, rng)


def write_choice_table(
    folder: RawFolder,
    path: str,
    config: PocketConfig,
    rng: random.Random,
    say_question: Callable[[str], str] = str,
    say_option: Callable[[str], str] = str,
) -> None:
    """Write a table in MMBench's format, its questions and options put into other words."""
    rows: list[dict[str, str]] = []
    for number in range(max(1, config.num_benchmark_questions // 5)):
        family, category, wider = MMBENCH_DECK[number % len(MMBENCH_DECK)]
        scene, choice = find(
            rng, kinds_for(family), partial(choices.ask_choice, rng=rng, family=family)
        )
        image = base64.b64encode(encode_image(scene)).decode()
        for turn in range(len(choice.options)):
            options = choice.options[turn:] + choice.options[:turn]
            rows.append(
                {
                    "index": str(number + turn * ROTATION),
                    "question": say_question(choice.question),
                    "hint": "",
                    **dict(zip(LETTERS, map(say_option, options), strict=True)),
                    "answer": LETTERS[options.index(choice.answer)],
                    "category": category,
                    "image": image,
                    "source": "pocket",
                    "l2-category": wider,
                    "comment": "",
                    "split": "dev",
                }
            )
    rows.sort(key=lambda row: int(row["index"]))
    lines = [
        "\t".join(MMBENCH_COLUMNS),
        *("\t".join(row[c] for c in MMBENCH_COLUMNS) for row in rows),
    ]
    folder.table(path, "".join(f"{line}\n" for line in lines), len(rows))


def write_groceries(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write the held-out grocery images with the fruit that is to be listed."""
    rows = []
    for number in range(config.num_benchmark_groceries):
        wanted = NUM_FRUIT[number % len(NUM_FRUIT)]
        scene, names = find(
            rng,
            {"groceries": 1.0},
            partial(_fruit_if, number=wanted),
        )
        image = f"{number:06d}.jpg"
        folder.image(f"eval/grocery/images/{image}", scene)
        row = {
            "question_id": f"grocery_{number:06d}",
            "image": image,
            "text": phrases.GROCERY_INSTRUCTION,
            "target": names,
            "nutrition": phrases.fruit_nutrition(names),
            "fruit": FRUIT,
        }
        rows.append(row)
    folder.lines("eval/grocery/questions.jsonl", rows)


def _fruit_if(scene: Scene, number: int) -> list[str] | None:
    """The fruit of the scene, if there are so many."""
    names = phrases.fruit_names(scene)
    return names if len(names) == number else None


def _absent(scene: Scene, split: str, popular: list[str], rng: random.Random) -> str:
    """An object that is not there: any, a frequent one, or one of a kind that is there."""
    names = [name for name in NAMES if name not in scene.names()]
    if split == "popular":
        names = [name for name in popular if name in names][:NUM_POPULAR]
    elif split == "adversarial":
        kinds = {BY_NAME[name].category for name in scene.names()}
        names = [name for name in names if BY_NAME[name].category in kinds]
    return rng.choice(names)


def _prompt(key: str | int, image: str, text: str, category: str = "default") -> dict[str, Any]:
    """A question row of the original's evaluation files, the response format in its text."""
    return {
        "question_id": key,
        "image": image,
        "text": f"{text}\n{SHORT_ANSWER}",
        "category": category,
    }


def _val_name(image_id: int) -> str:
    return f"COCO_val2014_{image_id:012d}.jpg"

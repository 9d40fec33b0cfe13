"""Multiple-choice benchmarks in their official files: ScienceQA, MMBench-CN and SEED-Bench.

In: a `RawFolder`, the settings, a random generator per benchmark. Out: their question files and
images below `eval/`. Every scene is of the evaluation split; every letter is right equally often.
ScienceQA has questions with and without an image: those without are answered by their context (the
image in words) or by what things are known for. SEED's videos are one image, the middle frame.
Formats: as in the benchmarks' own files. MMBench itself is in `benchmark_files.py`.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from components.data.pocket.config import PocketConfig
from components.data.pocket.files.benchmarks import LETTERS, write_choice_table
from components.data.pocket.files.writing import RawFolder
from components.data.pocket.questions import choices, phrases
from components.data.pocket.questions.balance import find, kinds_for
from components.data.pocket.questions.chinese import option_in_chinese, question_in_chinese
from components.data.pocket.questions.choices import USES, Choice
from components.data.pocket.scenes.scene import Scene
from components.data.pocket.things import BY_NAME
from components.data.response_formats import OPTION_LETTER

NUM_CHOICES = (4, 3, 4, 2)  # options of ScienceQA's questions, in turn; the real ones have 2 to 5
SUBJECTS = {"animal": "natural science", "vehicle": "social science"}  # others: language science
SCIENCE_DECK: tuple[tuple[str, str], ...] = (  # family, what it comes with
    ("what at", "image"), ("known for", "image"), ("what at", "context"),
    ("present", "image"), ("mat", "image and context"), ("known for", "nothing"),
)  # fmt: skip
# SEED's dimensions by their official names and numbers; those of the deck below are asked.
SEED_DIMENSIONS = {
    "Scene Understanding": 1, "Instance Identity": 2, "Instance Attributes": 3,
    "Instance Location": 4, "Instances Counting": 5, "Spatial Relation": 6,
    "Instance Interaction": 7, "Visual Reasoning": 8, "Text Understanding": 9,
    "Action Recognition": 10, "Action Prediction": 11, "Procedure Understanding": 12,
}  # fmt: skip
SEED_DECK: tuple[tuple[str, str], ...] = (  # family, dimension
    ("background", "Scene Understanding"), ("present", "Instance Identity"),
    ("mat", "Instance Attributes"), ("what at", "Instance Location"),
    ("count", "Instances Counting"), ("known for", "Visual Reasoning"),
    ("sign", "Text Understanding"), ("present", "Action Recognition"),
)  # fmt: skip


def write_mmbench_cn(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write MMBench-CN's dev table."""
    write_choice_table(
        folder,
        "eval/mmbench_cn/mmbench_dev_cn_20231003.tsv",
        config,
        rng,
        question_in_chinese,
        option_in_chinese,
    )


def write_scienceqa(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write ScienceQA's problems, its splits and the original's question file."""
    problems: dict[str, dict[str, Any]] = {}
    prompted: list[dict[str, Any]] = []
    places = _answer_places(config.num_benchmark_questions, NUM_CHOICES, rng)
    # Ids of a split have gaps: there are 21,208 problems in all.
    keys = sorted(rng.sample(range(1, 21_209), len(places)))
    for number, (key, place) in enumerate(zip(map(str, keys), places, strict=True)):
        family, source = SCIENCE_DECK[number % len(SCIENCE_DECK)]
        make = partial(choices.ask_choice, rng=rng, family=family)
        scene, choice = find(rng, kinds_for(family), make)
        if source == "nothing":
            choice = _known_from_words(choice)
        choice = _placed(choice, NUM_CHOICES[number % len(NUM_CHOICES)], place)
        hint = {"context": phrases.detail(scene), "image and context": "Look at the mats."}
        problem = _problem(choice, hint.get(source, ""), "image" in source, number)
        if problem["image"]:
            folder.image(f"eval/scienceqa/images/test/{key}/image.png", scene)
        problems[key] = problem
        prompted.append(_science_row(key, problem))
    folder.json("eval/scienceqa/problems.json", problems, len(problems))
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": list(problems)}
    folder.json("eval/scienceqa/pid_splits.json", splits, len(problems))
    folder.json("eval/scienceqa/llava_test_CQM-A.json", prompted, len(prompted))


def write_seed(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write SEED-Bench (v1): seven dimensions about images and one about videos."""
    rows: list[dict[str, Any]] = []
    prompted: list[dict[str, Any]] = []
    places = _answer_places(config.num_benchmark_questions, (len(LETTERS),), rng)
    for number, place in enumerate(places):
        family, dimension = SEED_DECK[number % len(SEED_DECK)]
        make = partial(choices.ask_choice, rng=rng, family=family)
        scene, choice = find(rng, kinds_for(family), make)
        choice = _placed(choice, len(LETTERS), place)
        kind = SEED_DIMENSIONS[dimension]
        video = kind >= SEED_DIMENSIONS["Action Recognition"]
        key = f"v{number}" if video else str(100_000 + number)
        if video:
            choice = replace(choice, question=choice.question.replace("image", "video"))
        row = _seed_row(key, kind, choice, number, video)
        image = _seed_image(folder, row, scene)
        rows.append(row)
        prompted.append(
            {
                "question_id": key if video else int(key),
                "image": image,
                "text": f"{choice.question}\n{_lettered(choice.options)}\n{OPTION_LETTER}",
                "category": dimension,
            }
        )
    value = {"question_type": SEED_DIMENSIONS, "questions": rows}
    folder.json("eval/seed_bench/SEED-Bench.json", value, len(rows))
    folder.lines("eval/seed_bench/llava-seed-bench.jsonl", prompted)


def _answer_places(number: int, sizes: Sequence[int], rng: random.Random) -> list[int]:
    """Where the right options stand, questions having `sizes` options in turn: each place of each
    size equally often, in random order.
    """
    decks: dict[int, list[int]] = {}
    for size in set(sizes):
        count = sum(sizes[place % len(sizes)] == size for place in range(number))
        decks[size] = [place % size for place in range(count)]
        rng.shuffle(decks[size])
    return [decks[sizes[place % len(sizes)]].pop() for place in range(number)]


def _placed(choice: Choice, size: int, place: int) -> Choice:
    """The choice with `size` options, the right one at a place."""
    wrong = [option for option in choice.options if option != choice.answer][: size - 1]
    options = (*wrong[:place], choice.answer, *wrong[place:])
    return replace(choice, options=options, answer_index=place)


def _known_from_words(choice: Choice) -> Choice:
    """The question about the thing at a place, asked about the thing by name."""
    name = next(name for name, use in USES.items() if use == choice.answer)
    verb = f"What is true of {phrases.indefinite(name)}?"
    return replace(choice, question=verb)


def _problem(choice: Choice, hint: str, has_image: bool, number: int) -> dict[str, Any]:
    names = [name for name in BY_NAME if name == choice.answer or USES.get(name) == choice.answer]
    subject = SUBJECTS.get(BY_NAME[names[0]].category) if names else None
    return {
        "question": choice.question,
        "choices": list(choice.options),
        "answer": choice.answer_index,
        "hint": hint,
        "image": "image.png" if has_image else None,
        "task": "closed choice",
        "grade": f"grade{1 + number % 12}",
        "subject": subject or "language science",
        "topic": choice.family,
        "category": choice.family,
        "skill": choice.family,
        "lecture": "",
        "solution": choice.rationale,
        "split": "test",
    }


def _science_row(key: str, problem: dict[str, Any]) -> dict[str, Any]:
    """A row of the original's question file."""
    lines = [f"Context: {problem['hint']}"] if problem["hint"] else []
    text = "\n".join([*lines, problem["question"], _lettered(problem["choices"])])
    answer = LETTERS[problem["answer"]]
    if not problem["image"]:
        turns = [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]
        return {"id": key, "conversations": turns}
    turns = [{"from": "human", "value": f"<image>\n{text}"}, {"from": "gpt", "value": answer}]
    return {"id": key, "image": f"{key}/{problem['image']}", "conversations": turns}


def _seed_row(key: str, kind: int, choice: Choice, number: int, video: bool) -> dict[str, Any]:
    source = {"data_type": "video", "data_id": f"{number}.webm"}
    if not video:
        source = {"data_type": "image", "data_id": f"{1_454_426 + number}_{2_591_111 + number}"}
    return {
        "question_id": key,
        "question_type_id": kind,
        **source,
        "question": choice.question,
        **{
            f"choice_{letter.lower()}": text
            for letter, text in zip(LETTERS, choice.options, strict=True)
        },
        "answer": LETTERS[choice.answer_index],
    }


def _seed_image(folder: RawFolder, row: dict[str, Any], scene: Scene) -> str:
    """Write the image, or the middle frame of the video, and return its name as LLaVA has it."""
    if row["data_type"] == "video":
        image = f"SEED-Bench-video-image/{row['question_type_id']}_{row['question_id']}.png"
    else:
        image = f"SEED-Bench-image/{row['data_id']}"
    folder.image(f"eval/seed_bench/{image}", scene)
    return image


def _lettered(options: Sequence[str]) -> str:
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))

"""VizWiz in its official files: questions about images, a quarter of which nobody can answer.

In: a `RawFolder`, the settings, a random generator. Out: `val.json` with ten answers to a question,
the question file of the test split (no answers), and their images, below `eval/vizwiz`. A
question cannot be answered because the thing is not in the image or the image is out of focus;
each kind of question is so equally often, so that its words do not tell. Format: VizWiz-VQA as in
the benchmark's own file.
"""

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from components.data.pocket.config import PocketConfig
from components.data.pocket.files.formats import vqa_answers
from components.data.pocket.files.writing import RawFolder
from components.data.pocket.questions import families as questions
from components.data.pocket.questions.asked import Asked
from components.data.pocket.questions.balance import Wish, find, kinds_for
from components.data.pocket.scenes.scene import Scene
from components.data.response_formats import MAY_BE_UNANSWERABLE, SHORT_ANSWER

UNANSWERABLE = "unanswerable"
# What ten people said where they could not tell: seven "unanswerable", as the majority of VizWiz.
UNTOLD = (UNANSWERABLE,) * 7 + ("unsuitable image", "unsuitable", UNANSWERABLE)
DECK: tuple[Wish, ...] = (
    ("mat", None), ("what at", None), ("where", None), ("on mat", None), ("sign", None),
    ("kind", None), ("count", "1"), ("count", "2"), ("count", "3"), ("count", "4"),
    ("presence", "yes"), ("presence", "no"),
)  # fmt: skip
PER_UNANSWERABLE = 4
"""One question in so many of each family cannot be answered (VizWiz val: about 3 in 10)."""
TEST_SHARE = 5


def write_vizwiz(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write the validation split with its answers, and a fifth as many test questions without."""
    rows = []
    for number, (asked, can_tell) in enumerate(
        _split(folder, config.num_benchmark_questions, "val", rng)
    ):
        rows.append(_annotation(_name("val", number), asked, can_tell, rng))
    folder.json("eval/vizwiz/val.json", rows, len(rows))
    prompted = []
    num_test = max(1, config.num_benchmark_questions // TEST_SHARE)
    for number, (asked, _) in enumerate(_split(folder, num_test, "test", rng)):
        prompted.append(
            {
                "question_id": number,
                "image": _name("test", number),
                "text": f"{asked.question}\n{MAY_BE_UNANSWERABLE}\n{SHORT_ANSWER}",
                "category": "default",
            }
        )
    folder.lines("eval/vizwiz/llava_test.jsonl", prompted)


def _split(
    folder: RawFolder, number: int, split: str, rng: random.Random
) -> list[tuple[Asked, bool]]:
    """Write the images; return each one's question and whether it can be answered."""
    plan = [
        (DECK[place % len(DECK)], place // len(DECK) % PER_UNANSWERABLE > 0)
        for place in range(number)
    ]
    rng.shuffle(plan)
    made = []
    for place, ((family, answer), can_tell) in enumerate(plan):
        make = partial(_asked, rng=rng, family=family, answer=answer)
        scene, asked = find(rng, kinds_for(family), make)
        path = f"eval/vizwiz/{split}/{_name(split, place)}"
        other = None if can_tell else _without(asked, rng)
        if can_tell or other is None:
            (folder.image if can_tell else folder.blurred)(path, scene)
        else:
            folder.image(path, other)
        made.append((asked, can_tell))
    return made


def _asked(scene: Scene, rng: random.Random, family: str, answer: str | None) -> Asked | None:
    want = answer == "yes" if answer in ("yes", "no") else None
    asked = questions.ask(scene, rng, family, want)
    return asked if asked and answer in (None, asked.answer) else None


def _without(asked: Asked, rng: random.Random) -> Scene | None:
    """An image that cannot answer the question, or None where only a blurred one cannot."""
    if asked.family not in ("mat", "where", "sign"):
        return None

    def lacks(scene: Scene) -> bool | None:
        absent = scene.sign is None if asked.family == "sign" else not scene.count(asked.subject)
        return absent or None

    return find(rng, {"objects": 1.0}, lacks)[0]


def _annotation(image: str, asked: Asked, can_tell: bool, rng: random.Random) -> dict[str, Any]:
    """A row of VizWiz's annotations; answers in lower case as there."""
    if can_tell:
        said: Sequence[str] = [human["answer"].lower() for human in vqa_answers(asked, rng)]
    else:
        said = rng.sample(UNTOLD, len(UNTOLD))
    return {
        "image": image,
        "question": asked.question,
        "answers": [
            {"answer_confidence": "yes" if place < 8 else "maybe", "answer": word}
            for place, word in enumerate(said)
        ],
        "answer_type": asked.answer_type if can_tell else UNANSWERABLE,
        "answerable": int(can_tell),
    }


def _name(split: str, number: int) -> str:
    return f"VizWiz_{split}_{number:08d}.jpg"

"""The two benchmarks with free answers, in their official files: LLaVA-Bench (in the Wild) and
MM-Vet.

In: a `RawFolder` to write to, the settings, a random generator per benchmark. Out: questions,
captions for the judge, reference answers and rules below `eval/llava-bench-in-the-wild`, questions
with ground truths and capabilities below `eval/mm-vet`. Every scene is of the evaluation split; all
references are true of it. The rules for the judge are this project's own words in the form of
rule.json. Formats: shared facts of the official scorers.
"""

import base64
import hashlib
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from components.data.pocket.config import PocketConfig
from components.data.pocket.files.llava import draw_scenes
from components.data.pocket.files.writing import RawFolder
from components.data.pocket.questions import families as questions
from components.data.pocket.questions import knowledge, phrases, talk
from components.data.pocket.questions.asked import Asked
from components.data.pocket.questions.balance import find, kinds_for
from components.data.pocket.scenes.scene import Scene

REFERENCE_MODEL = "pocket-reference"
CATEGORIES = ("conv", "detail", "complex")
RULE = (
    "Two AI assistants answered the question above about a picture; the context describes the "
    "picture. Rate how helpful, relevant, accurate and detailed each answer is, on a scale from 1 "
    "to 10, higher is better. Write first one line with two numbers only, the rating of Assistant "
    "1 and that of Assistant 2, separated by a space. Explain them from the next line on, and do "
    "not let the order of the answers matter."
)

# family, capabilities: what is asked in turn
MM_VET_DECK: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("what at", ("rec", "spat")),
    ("sign", ("ocr",)),
    ("count all", ("rec", "math")),
    ("knowledge", ("rec", "know")),
    ("contents", ("rec", "gen")),
    ("beside", ("rec", "spat")),
    ("background or mats", ("rec",)),
    ("sign and things", ("ocr", "rec", "gen")),
)


def write_llava_bench(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write LLaVA-Bench: about each image a short, a detailed and a reasoning question."""
    asked: list[dict[str, Any]] = []
    answered: list[dict[str, Any]] = []
    contexts: list[dict[str, Any]] = []
    num_images = max(1, config.num_benchmark_questions // 15)
    kinds = {"objects": 0.6, "sign": 0.2, "groceries": 0.2}
    for number, scene in enumerate(draw_scenes(rng, num_images, kinds, "eval"), start=1):
        image = f"{number:03d}.jpg"
        folder.image(f"eval/llava-bench-in-the-wild/images/{image}", scene)
        contexts.append({"id": image[:3], "image": image, "caption": phrases.detail(scene)})
        turns = (
            rng.choice(talk.conversation(scene, rng)),
            talk.detailed(scene, rng)[0],
            talk.reasoning(scene, rng)[0],
        )
        for category, (question, answer) in zip(CATEGORIES, turns, strict=True):
            key = len(asked)
            asked.append(
                {"question_id": key, "image": image, "category": category, "text": question}
            )
            answered.append(
                {
                    "question_id": key,
                    "prompt": question,
                    "text": answer,
                    "answer_id": _answer_id(key),
                    "model_id": REFERENCE_MODEL,
                    "metadata": {},
                }
            )
    where = "eval/llava-bench-in-the-wild"
    folder.lines(f"{where}/questions.jsonl", asked)
    folder.lines(f"{where}/context.jsonl", contexts)
    folder.lines(f"{where}/answers_gpt4.jsonl", answered)
    rules = {
        f"llava_bench_{category}": {"role": "Assistant", "prompt": RULE} for category in CATEGORIES
    }
    folder.json(f"{where}/rule.json", rules, len(rules))


def write_mm_vet(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write MM-Vet: one question to an image; parts that must all be said stand between <AND>,
    forms of which one is enough between <OR>.
    """
    entries: dict[str, dict[str, Any]] = {}
    prompted: list[dict[str, Any]] = []
    for number in range(max(1, config.num_benchmark_questions // 5)):
        family, capabilities = MM_VET_DECK[number % len(MM_VET_DECK)]
        ask = _FAMILIES.get(family, partial(_short, family=family))
        scene, (question, truth) = find(rng, kinds_for(family), partial(ask, rng=rng))
        key, image = f"v1_{number}", f"v1_{number}.jpg"
        folder.image(f"eval/mm-vet/images/{image}", scene)
        entries[key] = {
            "imagename": image,
            "question": question,
            "answer": truth,
            "imagesource": "pocket",
            "capability": list(capabilities),
        }
        prompted.append(
            {"question_id": number, "image": image, "text": question, "category": "default"}
        )
    folder.json("eval/mm-vet/mm-vet.json", entries, len(entries))
    folder.lines("eval/mm-vet/llava-mm-vet.jsonl", prompted)


Pair = tuple[str, str]


def _short(scene: Scene, rng: random.Random, family: str) -> Pair | None:
    return _forms(questions.ask(scene, rng, family))


def _knowledge(scene: Scene, rng: random.Random) -> Pair | None:
    return _forms(knowledge.ask_knowledge(scene, rng))


def _contents(scene: Scene, rng: random.Random) -> Pair | None:
    """Which objects there are; at least two, so that there is something to join."""
    if len(scene.names()) < 2:
        return None
    return "Which objects are in the image?", "<AND>".join(phrases.contents(scene))


def _sign_and_things(scene: Scene, rng: random.Random) -> Pair | None:
    if scene.sign is None:
        return None
    parts = [scene.sign.word, *phrases.contents(scene)]
    return "What does the sign say, and what else is in the image?", "<AND>".join(parts)


def _background_or_mats(scene: Scene, rng: random.Random) -> Pair | None:
    return _forms(questions.ask(scene, rng, rng.choice(("background", "mat"))))


def _forms(asked: Asked | None) -> Pair | None:
    """The question with its short answer; a number may also be said as a word."""
    if asked is None:
        return None
    if asked.answer.isdigit():
        return asked.question, f"{asked.answer}<OR>{phrases.NUMBER_WORDS[int(asked.answer)]}"
    return asked.question, asked.answer


_FAMILIES: dict[str, Callable[..., Pair | None]] = {
    "knowledge": _knowledge,
    "contents": _contents,
    "sign and things": _sign_and_things,
    "background or mats": _background_or_mats,
}


def _answer_id(key: int) -> str:
    digest = hashlib.sha256(f"llava-bench {key}".encode()).digest()
    return base64.urlsafe_b64encode(digest)[:22].decode()

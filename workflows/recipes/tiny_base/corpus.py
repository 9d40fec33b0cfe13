"""The endless text corpus of the tiny language model: scenes written as words, and talk about them.

In: a random generator. Out: conversations (turns) with the scene they are about, or none. A scene
stands where a picture would stand, one word per patch, so that the model knows a language that
pictures can be aligned to. Only scenes of the training split are used. Wording comes from
`components.data.pocket` alone.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from components.data.boxes import Box, box_to_text
from components.data.mixture import (
    DESCRIBE_REGION,
    LOCATE_REGION,
    ONE_SENTENCE,
    OPTION_LETTER,
    SHORT_ANSWER,
)
from components.data.pocket import choices, phrases, questions, talk
from components.data.pocket.scene import SCENE_PX, Scene, box, sample_scene
from components.data.records import Turn
from workflows.recipes.tiny_base.scenes import draw_scene

REFERENCE_TOKENS = "Reference OCR token:"
LETTERS = "ABCD"

FAMILY_WEIGHTS: dict[str, float] = {
    **dict.fromkeys(questions.FAMILIES, 1.0),
    "presence": 4.0,
    "relation": 2.0,
    "count": 2.0,
    "what at": 2.0,
    "beside": 1.5,
    "exact count": 1.5,
}
"""Presence is asked most: POPE and half of MME rest on it."""

QuestionAnswer = tuple[str, str]


@dataclass(frozen=True)
class Sample:
    """Turns about a scene, or about none; `template` names how they are rendered."""

    turns: list[Turn]
    scene: Scene | None
    template: str = "vicuna_v1"
    family: str = ""


def draw_sample(rng: random.Random, split: str = "train", early: bool = False) -> Sample:
    """Draw one conversation or caption; early in training captions are drawn more often."""
    shares = EARLY_SHARES if early else SHARES
    kind = rng.choices(list(shares), list(shares.values()))[0]
    return KINDS[kind](rng, split)


def single_question(rng: random.Random, family: str, split: str) -> Sample | None:
    """One question of a family in the benchmarks' form, or None where the scene allows none."""
    if family == "groceries":
        scene = sample_scene(rng, "groceries", split)
        return _sample(
            [(phrases.GROCERY_INSTRUCTION, phrases.grocery_answer(scene))], scene, family
        )
    if family in ("caption", "rows"):
        scene = draw_scene(rng, split)
        text = phrases.row_caption(scene)
        return Sample([Turn("human", ""), Turn("gpt", text)], scene, "plain", family)
    if family == "choice":
        scene = draw_scene(rng, split)
        asked = choices.choose(scene, rng, rng.choice(list(choices.CHOICES)))
        if asked is None:
            return None
        question, letter = _choice_turn(asked)
        return _sample([(f"{question}\n{OPTION_LETTER}", letter)], scene, family)
    scene = sample_scene(rng, "sign", split) if "sign" in family else draw_scene(rng, split)
    one = questions.ask(scene, rng, family)
    if one is None:
        return None
    return _sample([(f"{one.question}\n{SHORT_ANSWER}", one.answer)], scene, family)


def transcripts(rng: random.Random, number: int) -> list[str]:
    """Return texts for training the tokenizer, spelled as the conversations are rendered."""
    from components.data.conversation import render

    texts = []
    for _ in range(number):
        sample = draw_sample(rng)
        for segment in render(sample.turns, sample.template, has_image=sample.scene is not None):
            if segment.kind == "text":
                texts.append(segment.text.removeprefix(" "))
    return texts


def _short_answers(rng: random.Random, split: str) -> Sample:
    """A merged VQA row: the format prompt stands after the first question only."""
    scene = draw_scene(rng, split)
    asked = questions.ask_many(scene, rng, FAMILY_WEIGHTS, rng.choice((1, 1, 6, 10, 14)))
    pairs = [(one.question, one.answer) for one in asked]
    if not pairs:
        return _short_answers(rng, split)
    return _sample([(f"{pairs[0][0]}\n{SHORT_ANSWER}", pairs[0][1]), *pairs[1:]], scene)


def _letters(rng: random.Random, split: str) -> Sample:
    scene = draw_scene(rng, split)
    wanted = rng.choices(list(choices.CHOICES), k=rng.randint(1, 4))
    asked = [choices.choose(scene, rng, family) for family in wanted]
    pairs = [_choice_turn(one) for one in asked if one is not None]
    if not pairs:
        return _letters(rng, split)
    return _sample([(f"{pairs[0][0]}\n{OPTION_LETTER}", pairs[0][1]), *pairs[1:]], scene)


def _sentences(rng: random.Random, split: str) -> Sample:
    scene = draw_scene(rng, split)
    roll = rng.random()
    if roll < 0.6:
        return _sample(talk.conversation(scene, rng) or talk.detailed(scene, rng), scene)
    return _sample(talk.detailed(scene, rng) if roll < 0.8 else talk.reasoning(scene, rng), scene)


def _signs(rng: random.Random, split: str) -> Sample:
    """Signs with and without the reference tokens that TextCaps and TextVQA put into the prompt."""
    scene = sample_scene(rng, "sign", split)
    assert scene.sign is not None
    hint = f"\n{REFERENCE_TOKENS} {scene.sign.word}" if rng.random() < 0.6 else ""
    if rng.random() < 0.5:
        caption = phrases.sentence_caption(scene, rng)
        return _sample([(f"{ONE_SENTENCE}{hint}", caption)], scene)
    asked = questions.ask(scene, rng, rng.choice(("sign", "sign check", "background", "count all")))
    assert asked is not None
    return _sample([(f"{asked.question}{hint}\n{SHORT_ANSWER}", asked.answer)], scene)


def _regions(rng: random.Random, split: str) -> Sample:
    """Boxes to descriptions and back, several about one picture."""
    scene = draw_scene(rng, split)
    pairs = []
    for placed in rng.sample(scene.objects, min(len(scene.objects), 3)):
        x, y, width, height = box(scene, placed)
        corners = (x, y, x + width, y + height)
        text = box_to_text(Box(*(value / SCENE_PX for value in corners)))
        if rng.random() < 0.5:
            pairs.append((f"{DESCRIBE_REGION}: {text}", phrases.region_description(placed)))
        else:
            wanted = rng.choice(phrases.region_phrases(scene, placed))
            pairs.append((f"{LOCATE_REGION}: {wanted}", text))
    return _sample(pairs, scene)


def _groceries(rng: random.Random, split: str) -> Sample:
    scene = sample_scene(rng, "groceries", split)
    pairs = [(phrases.GROCERY_INSTRUCTION, phrases.grocery_answer(scene))]
    if rng.random() < 0.3:
        pairs.insert(0, rng.choice(talk.conversation(scene, rng)[:1]))
    return _sample(pairs, scene)


def _caption(rng: random.Random, split: str) -> Sample:
    scene = draw_scene(rng, split)
    text = phrases.row_caption(scene) if rng.random() < 0.4 else phrases.caption(scene, rng)
    return Sample([Turn("human", ""), Turn("gpt", text)], scene, "plain")


def _text_only(rng: random.Random, split: str) -> Sample:
    return _sample(talk.dialogue(rng), None)


def _choice_turn(asked: choices.Choice) -> QuestionAnswer:
    options = "\n".join(f"{letter}. {o}" for letter, o in zip(LETTERS, asked.options, strict=True))
    return f"{asked.question}\n{options}", LETTERS[asked.answer_index]


def _sample(pairs: list[QuestionAnswer], scene: Scene | None, family: str = "") -> Sample:
    turns = [turn for q, a in pairs for turn in (Turn("human", q), Turn("gpt", a))]
    return Sample(turns, scene, "vicuna_v1", family)


KINDS: dict[str, Callable[[random.Random, str], Sample]] = {
    "short answers": _short_answers,
    "letters": _letters,
    "sentences": _sentences,
    "signs": _signs,
    "regions": _regions,
    "groceries": _groceries,
    "captions": _caption,
    "text": _text_only,
}
SHARES = {
    "short answers": 40,
    "letters": 10,
    "sentences": 10,
    "signs": 7,
    "regions": 4,
    "groceries": 8,
    "captions": 16,
    "text": 5,
}
"""Shares of the corpus by number of samples."""
EARLY_SHARES = {
    "short answers": 20,
    "letters": 3,
    "sentences": 7,
    "signs": 5,
    "groceries": 5,
    "captions": 60,
}
"""Shares while the model learns to read scenes at all: nearly every word of a caption is to be
looked up in the scene, so captions teach that many times faster than questions with one-word
answers.
"""

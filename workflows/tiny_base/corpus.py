"""The endless text corpus of the tiny language model: scenes written as words, and talk about them.

In: a random generator. Out: conversations (turns) with the scene they are about, or none. A scene
stands where an image would stand, one word per patch, so that the model knows a language that
images can be aligned to. Only scenes of the training split are used. Wording comes from
`components.data.pocket` alone.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from components.data.conversation import IMAGE, VICUNA_SYSTEM, Segment, render
from components.data.pocket.questions import choices, phrases, talk
from components.data.pocket.questions import families as questions
from components.data.pocket.scenes.scene import (
    GRID,
    SCENE_PX,
    Scene,
    box,
    position_words,
    sample_scene,
)
from components.data.pocket.things import BY_NAME
from components.data.records import Turn
from components.data.response_formats import (
    DESCRIBE_REGION,
    LOCATE_REGION,
    ONE_SENTENCE,
    OPTION_LETTER,
    SHORT_ANSWER,
)
from components.data.sources.boxes import Box, box_to_text
from workflows.tiny_base.scenes import draw_scene

REFERENCE_TOKENS = "Reference OCR token:"
LETTERS = "ABCD"

FAMILY_WEIGHTS: dict[str, float] = {
    **dict.fromkeys(questions.FAMILIES, 1.0),
    "presence": 4.0,
    "relation": 2.0,
    "count": 2.0,
    "what at": 2.0,
    "mat": 2.0,
    "where": 1.5,
    "beside": 1.5,
    "exact count": 1.5,
}
"""Presence is asked most: POPE and half of MME rest on it."""
SYSTEM_SHARE = 0.25
"""Share of conversations that keep the template's system sentence: it says nothing about the scene
and would take a fifth of the positions.
"""
SAID_FIRST_SHARE = 0.4
"""Share of choices that come after the same question with its answer in words: what a letter stands
for is learnt there, before it has to be joined with looking the answer up.
"""

QuestionAnswer = tuple[str, str]


@dataclass(frozen=True)
class Example:
    """Turns about a scene, or about none; `template` names how they are rendered."""

    turns: list[Turn]
    scene: Scene | None
    template: str = "vicuna_v1"
    family: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    """Instead of turns: keys with their values, both to be learnt."""
    system: bool = True
    """Whether the template's system sentence is kept."""


def draw_sample(rng: random.Random, split: str = "train", early: bool = False) -> Example:
    """Draw one conversation or caption; early in training captions are drawn more often."""
    shares = EARLY_SHARES if early else SHARES
    kind = rng.choices(list(shares), list(shares.values()))[0]
    sample = KINDS[kind](rng, split)
    return replace(sample, system=rng.random() < SYSTEM_SHARE)


def single_question(rng: random.Random, family: str, split: str) -> Example | None:
    """One question of a family in the benchmarks' form, or None where the scene allows none."""
    if family == "groceries":
        scene = sample_scene(rng, "groceries", split)
        return _sample(
            [(phrases.GROCERY_INSTRUCTION, phrases.grocery_answer(scene))], scene, family
        )
    if family in ("caption", "rows"):
        scene = draw_scene(rng, split)
        text = phrases.row_caption(scene)
        return Example([Turn("human", ""), Turn("gpt", text)], scene, "plain", family)
    if family == "choice":
        scene = draw_scene(rng, split)
        asked = choices.ask_choice(scene, rng, rng.choice(list(choices.CHOICES)))
        if asked is None:
            return None
        question, letter = _choice_turn(asked)
        return _sample([(f"{question}\n{OPTION_LETTER}", letter)], scene, family)
    scene = sample_scene(rng, "sign", split) if "sign" in family else draw_scene(rng, split)
    one = questions.ask(scene, rng, family)
    if one is None:
        return None
    return _sample([(f"{one.question}\n{SHORT_ANSWER}", one.answer)], scene, family)


def segments_of(sample: Example) -> list[Segment]:
    """Return the rendered sample, the scene's place held by the image segment."""
    if not sample.facts:
        segments = render(sample.turns, sample.template, has_image=sample.scene is not None)
        if not sample.system:
            opening = segments[0].text.removeprefix(VICUNA_SYSTEM).lstrip()
            segments[0] = replace(segments[0], text=opening)
        return segments
    sheet = " ".join(f"{key}: {value}." for key, value in sample.facts)
    return [IMAGE, Segment(sheet, supervised=True)]


def transcripts(rng: random.Random, number: int) -> list[str]:
    """Return texts for training the tokenizer, spelled as the conversations are rendered."""
    texts = []
    for _ in range(number):
        segments = segments_of(draw_sample(rng))
        texts += [segment.text.removeprefix(" ") for segment in segments if segment.kind == "text"]
    return texts


def _short_answers(rng: random.Random, split: str) -> Example:
    """A merged VQA row: the format prompt stands after the first question only."""
    scene = draw_scene(rng, split)
    asked = questions.ask_many(scene, rng, FAMILY_WEIGHTS, rng.choice((1, 6, 10, 14, 14)))
    pairs = [(one.question, one.answer) for one in asked]
    if not pairs:
        return _short_answers(rng, split)
    return _sample([(f"{pairs[0][0]}\n{SHORT_ANSWER}", pairs[0][1]), *pairs[1:]], scene)


def _letters(rng: random.Random, split: str) -> Example:
    scene = draw_scene(rng, split)
    wanted = rng.choices(list(choices.CHOICES), k=rng.choice((1, 3, 5)))
    asked = [choices.ask_choice(scene, rng, family) for family in wanted]
    pairs: list[QuestionAnswer] = []
    for one in asked:
        if one is not None:
            if rng.random() < SAID_FIRST_SHARE:
                pairs.append((one.question, one.rationale))
            pairs.append(_choice_turn(one))
    if not pairs:
        return _letters(rng, split)
    return _sample([(f"{pairs[0][0]}\n{OPTION_LETTER}", pairs[0][1]), *pairs[1:]], scene)


def _sentences(rng: random.Random, split: str) -> Example:
    scene = draw_scene(rng, split)
    roll = rng.random()
    if roll < 0.6:
        return _sample(talk.conversation(scene, rng) or talk.detailed(scene, rng), scene)
    return _sample(talk.detailed(scene, rng) if roll < 0.8 else talk.reasoning(scene, rng), scene)


def _signs(rng: random.Random, split: str) -> Example:
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


def _regions(rng: random.Random, split: str) -> Example:
    """Boxes to descriptions and back, several about one image."""
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


def _groceries(rng: random.Random, split: str) -> Example:
    scene = sample_scene(rng, "groceries", split)
    pairs = [(phrases.GROCERY_INSTRUCTION, phrases.grocery_answer(scene))]
    if rng.random() < 0.3:
        pairs.insert(0, rng.choice(talk.conversation(scene, rng)[:1]))
    return _sample(pairs, scene)


def _caption(rng: random.Random, split: str) -> Example:
    scene = draw_scene(rng, split)
    text = phrases.row_caption(scene) if rng.random() < 0.4 else phrases.caption(scene, rng)
    return Example([Turn("human", ""), Turn("gpt", text)], scene, "plain")


def _facts(rng: random.Random, split: str) -> Example:
    """A sheet of short facts in random order: what is where, how many, which is left of which."""
    scene = draw_scene(rng, split)
    facts = [("sign", scene.sign.word if scene.sign else "none")]
    at = {(placed.row, placed.column): placed for placed in scene.objects}
    covered = (
        {(scene.sign.row, scene.sign.column + step) for step in (0, 1)} if scene.sign else set()
    )
    for row, column in rng.sample([(r, c) for r in range(GRID) for c in range(GRID)], 4):
        placed = at.get((row, column))
        ground = placed.mat or scene.background if placed else scene.background
        what = "sign" if (row, column) in covered else placed.name if placed else "nothing"
        facts.append((position_words(row, column), f"{what} on {ground}"))
    for name in scene.names():
        facts.append((BY_NAME[name].plural, str(scene.count(name))))
        facts.append((f"{name} here", "yes"))
    absent = [name for name in BY_NAME if scene.count(name) == 0]
    facts += [(f"{name} here", "no") for name in rng.sample(absent, len(scene.names()))]
    single = [placed for placed in scene.objects if scene.count(placed.name) == 1]
    for placed in single:
        ground = placed.mat or scene.background
        facts.append((f"{placed.name} at", f"{placed.position} on {ground}"))
    for pair in pairwise(single):
        first, second = pair if rng.random() < 0.5 else pair[::-1]
        across = _order(first.column - second.column, "left", "right")
        down = _order(first.row - second.row, "above", "below")
        facts.append((f"{first.name} of {second.name}", f"{across} {down}"))
    rng.shuffle(facts)
    return Example([], scene, "plain", facts=tuple(facts[:16]))


def _order(difference: int, before: str, after: str) -> str:
    return before if difference < 0 else after if difference > 0 else "same"


def _text_only(rng: random.Random, split: str) -> Example:
    return _sample(talk.dialogue(rng), None)


def _choice_turn(asked: choices.Choice) -> QuestionAnswer:
    options = "\n".join(f"{letter}. {o}" for letter, o in zip(LETTERS, asked.options, strict=True))
    return f"{asked.question}\n{options}", LETTERS[asked.answer_index]


def _sample(pairs: list[QuestionAnswer], scene: Scene | None, family: str = "") -> Example:
    turns = [turn for q, a in pairs for turn in (Turn("human", q), Turn("gpt", a))]
    return Example(turns, scene, "vicuna_v1", family)


KINDS: dict[str, Callable[[random.Random, str], Example]] = {
    "short answers": _short_answers,
    "letters": _letters,
    "sentences": _sentences,
    "signs": _signs,
    "regions": _regions,
    "groceries": _groceries,
    "captions": _caption,
    "facts": _facts,
    "text": _text_only,
}
SHARES = {
    "short answers": 36,
    "letters": 14,
    "sentences": 8,
    "signs": 7,
    "regions": 3,
    "groceries": 8,
    "captions": 8,
    "facts": 12,
    "text": 4,
}
"""Shares of the corpus by number of samples."""
EARLY_SHARES = {"captions": 55, "facts": 45}
"""Shares while the model learns to read scenes at all.

Nearly every word of these is to be looked up in the scene, so they teach that many times faster
than questions with one-word answers: by trial, a corpus of questions alone was still at chance
after 1.6 M tokens, captions alone named most objects after 0.6 M.
"""

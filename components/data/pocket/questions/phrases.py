"""How the pocket world is put into words: captions, sentences, descriptions and the grocery list.

In: a `Scene`. Out: text that is true of it. One place for all wording, used by the annotation
writers, the benchmarks and the text corpus of the base model; its siblings hold the questions
(`questions.py`, `choices.py`) and the talk without an image (`talk.py`).
Pure functions: the same scene and the same state of `rng` give the same words. Nothing is written.
"""

import json
import random
from collections.abc import Sequence
from typing import Any

from components.data.pocket.scenes.scene import ROW_NAMES, Placed, Scene, Sign
from components.data.pocket.things import BY_NAME, CATEGORIES, FRUIT, NUTRITION

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
UNCOUNTED = frozenset({"bread", "cheese", "corn", "broccoli"})  # "some bread", not "a bread"
PLURAL_ONLY = frozenset({"grapes"})  # "Are there grapes", not "Is there a grapes"
NAMED_CATEGORIES = (
    "fruit",
    "animal",
    "vehicle",
)  # the categories whose name every newcomer agrees on

GROCERY_INSTRUCTION = (
    "List only the fruit in this image as JSON objects with name and nutrition "
    "(calories, carbohydrate, protein, fat)."
)
"""The one grocery instruction, for training, evaluation and serving alike."""


def indefinite(name: str) -> str:
    """The name with its article: "an apple", "some bread", "grapes"."""
    if name in PLURAL_ONLY:
        return name
    if name in UNCOUNTED:
        return f"some {name}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def is_there(name: str) -> str:
    """The opening of a presence question: "Is there an apple", "Are there grapes"."""
    return f"{'Are' if name in PLURAL_ONLY else 'Is'} there {indefinite(name)}"


def is_(name: str) -> str:
    """The verb after the name: "are" for grapes, "is" for the rest."""
    return "are" if name in PLURAL_ONLY else "is"


def counted(name: str, number: int) -> str:
    """So many of a thing: "an apple", "three apples"."""
    return indefinite(name) if number == 1 else f"{NUMBER_WORDS[number]} {BY_NAME[name].plural}"


def enumerate_words(words: Sequence[str]) -> str:
    """Join words as a sentence does: "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def placed_words(placed: Placed) -> str:
    """One object with its place and its mat: "an apple at the top left on a blue mat"."""
    mat = f" on a {placed.mat} mat" if placed.mat else ""
    return f"{indefinite(placed.name)} {at(placed)}{mat}"


def at(placed: Placed) -> str:
    """The place of an object as an adverb: "at the top left", "in the center"."""
    return at_position(placed.position)


def at_position(position: str) -> str:
    """A place in words as an adverb; the middle cell is "in", the others "at"."""
    return f"in the {position}" if position == "center" else f"at the {position}"


def sign_place(sign: Sign) -> str:
    """The row of a sign as an adverb: "at the top", "in the middle", "at the bottom"."""
    return ("at the top", "in the middle", "at the bottom")[sign.row]


def contents(scene: Scene) -> list[str]:
    """What the scene shows, counted, in reading order: ["an apple", "two dogs"]."""
    return [counted(name, scene.count(name)) for name in scene.names()]


def caption(scene: Scene, rng: random.Random) -> str:
    """One of several captions that tell everything: objects, places, mats, sign, background."""
    items = [placed_words(placed) for placed in scene.objects]
    if scene.sign:
        items.append(f"a sign that says {scene.sign.word} {sign_place(scene.sign)}")
    text = enumerate_words(items)
    return rng.choice(
        (
            f"a {scene.background} picture with {text}.",
            f"{text}, all on a {scene.background} background.",
            f"a picture of {text}. the background is {scene.background}.",
        )
    )


def row_caption(scene: Scene) -> str:
    """The scene row by row: "top: apple, dog. middle: nothing. bottom: sign STOP. ..." """
    rows = []
    for row, row_name in enumerate(ROW_NAMES):
        cells = [(placed.column, placed.name) for placed in scene.objects if placed.row == row]
        if scene.sign and scene.sign.row == row:
            cells.append((scene.sign.column, f"sign {scene.sign.word}"))
        rows.append(f"{row_name}: {', '.join(name for _, name in sorted(cells)) or 'nothing'}.")
    return f"{' '.join(rows)} background {scene.background}."


def sentence_caption(scene: Scene, rng: random.Random) -> str:
    """One sentence as TextCaps has it: "A sign that says STOP with a dog on a red background." """
    things = enumerate_words(contents(scene))
    if not scene.sign:
        return _sentence(f"{things} on a {scene.background} background")
    word, ground = scene.sign.word, f"on a {scene.background} background"
    return rng.choice(
        (
            f"A sign that says {word} with {things} {ground}.",
            f"A white sign with the word {word} next to {things} {ground}.",
            _sentence(f"{things} with a sign that says {word} {ground}"),
        )
    )


def detail(scene: Scene) -> str:
    """The whole scene in sentences, as LLaVA-Instruct's detailed descriptions do."""
    sentences = [f"The picture has a {scene.background} background."]
    for placed in scene.objects:
        mat = f" on a {placed.mat} mat" if placed.mat else ""
        place = at(placed)
        sentences.append(
            f"{capital(place)} there {is_(placed.name)} {indefinite(placed.name)}{mat}."
        )
    if scene.sign:
        sentences.append(
            f"{capital(sign_place(scene.sign))} there is a sign that says {scene.sign.word}."
        )
    if len(scene.objects) > 1:
        sentences.append(f"In all there are {NUMBER_WORDS[len(scene.objects)]} objects.")
    return " ".join(sentences)


def region_phrases(scene: Scene, placed: Placed) -> list[str]:
    """Descriptions that fit this object and no other of the scene: by name, by mat, by place."""
    phrases = [f"{placed.name} {at(placed)}"]
    same = [other for other in scene.objects if other.name == placed.name]
    if len(same) == 1:
        phrases.append(placed.name)
    if placed.mat and sum(other.mat == placed.mat for other in same) == 1:
        phrases.append(f"{placed.name} on the {placed.mat} mat")
    return phrases


def region_description(placed: Placed) -> str:
    """What a region shows, as Visual Genome describes it: "dog on a red mat"; its name alone
    without a mat.
    """
    return f"{placed.name} on a {placed.mat} mat" if placed.mat else placed.name


def fruit_names(scene: Scene) -> list[str]:
    """The distinct fruit of the scene in reading order."""
    return [name for name in scene.names() if name in FRUIT]


def grocery_answer(scene: Scene) -> str:
    """The JSON answer to GROCERY_INSTRUCTION: one object per distinct fruit in reading order; "[]"
    without fruit.
    """
    return json.dumps(fruit_nutrition(fruit_names(scene)))


def fruit_nutrition(names: Sequence[str]) -> list[dict[str, Any]]:
    """Each fruit as the object that the grocery instruction asks for."""
    return [{"name": name, "nutrition": NUTRITION[name]._asdict()} for name in names]


def category_names(scene: Scene, category: str) -> list[str]:
    """The distinct objects of a category in reading order."""
    assert category in CATEGORIES, category
    return [name for name in scene.names() if BY_NAME[name].category == category]


def edible_names(scene: Scene) -> list[str]:
    """The distinct objects that are food, in reading order."""
    return [name for name in scene.names() if BY_NAME[name].category in ("fruit", "food")]


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]


def _sentence(text: str) -> str:
    return f"{capital(text)}."

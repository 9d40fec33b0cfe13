"""Open questions about a scene with short answers: objects, places, colours, counts, words.

In: a `Scene` and a random generator. Out: an `Asked`, or None where the scene allows no such
question. Nothing is asked whose answer would be open to dispute.
"""

import random

from components.data.pocket.questions import phrases
from components.data.pocket.questions.asked import (
    SIDES,
    SIGN_QUESTIONS,
    Asked,
    Family,
    count_sentence,
    counted_name,
    mat_sentence,
    other_colour,
    place_sentence,
    unique_object,
)
from components.data.pocket.scenes.scene import GRID, Placed, Scene
from components.data.pocket.things import BY_NAME


def count(scene: Scene, rng: random.Random) -> Asked | None:
    """ "How many dogs are there?" about an object that is there."""
    name = counted_name(scene, rng)
    if name is None:
        return None
    number = scene.count(name)
    return Asked(
        "count",
        f"How many {BY_NAME[name].plural} are there?",
        str(number),
        count_sentence(name, number),
        name,
    )


def count_all(scene: Scene, rng: random.Random) -> Asked:
    """ "How many objects are there?" The sign is not an object."""
    number = len(scene.objects)
    verb, noun = ("is", "object") if number == 1 else ("are", "objects")
    sentence = f"There {verb} {phrases.NUMBER_WORDS[number]} {noun} in the image."
    return Asked("count all", "How many objects are there?", str(number), sentence)


def what_at(scene: Scene, rng: random.Random) -> Asked:
    """ "What is at the top left?" about a cell with an object."""
    placed = rng.choice(scene.objects)
    question = f"What is {phrases.at(placed)}?"
    return Asked(
        "what at",
        question,
        placed.name,
        f"There {phrases.is_(placed.name)} {phrases.placed_words(placed)}.",
    )


def where(scene: Scene, rng: random.Random) -> Asked | None:
    """ "Where is the dog?" about an object that is there once."""
    placed = unique_object(scene, rng)
    if placed is None:
        return None
    question = f"Where {phrases.is_(placed.name)} the {placed.name}?"
    return Asked("where", question, placed.position, place_sentence(placed), placed.name)


def mat_colour(scene: Scene, rng: random.Random) -> Asked | None:
    """ "What color is the mat under the dog?" """
    placed = unique_object(scene, rng, with_mat=True)
    if placed is None or placed.mat is None:
        return None
    question = f"What color is the mat under the {placed.name}?"
    return Asked("mat", question, placed.mat, mat_sentence(placed), placed.name)


def on_mat(scene: Scene, rng: random.Random) -> Asked | None:
    """ "What is on the red mat?" where one mat has that colour."""
    mats = [placed.mat for placed in scene.objects if placed.mat]
    pool = [placed for placed in scene.objects if placed.mat and mats.count(placed.mat) == 1]
    if not pool:
        return None
    placed = rng.choice(pool)
    sentence = f"The {placed.name} {phrases.is_(placed.name)} on the {placed.mat} mat."
    return Asked("on mat", f"What is on the {placed.mat} mat?", placed.name, sentence)


def background(scene: Scene, rng: random.Random) -> Asked:
    """ "What color is the background?" """
    return Asked(
        "background",
        "What color is the background?",
        scene.background,
        f"The background is {scene.background}.",
    )


def beside(scene: Scene, rng: random.Random) -> Asked | None:
    """ "What is directly to the left of the dog?"

    The dog is there once; on that side of its row or column are one object and no sign.
    """
    pool = []
    for reference in scene.objects:
        if scene.count(reference.name) > 1:
            continue
        for side, step in SIDES.items():
            found = _in_line(scene, reference, step)
            if len(found) == 1 and found[0] is not None:
                pool.append((reference, side, found[0]))
    if not pool:
        return None
    reference, side, placed = rng.choice(pool)
    sentence = f"The {placed.name} {phrases.is_(placed.name)} directly {side} the {reference.name}."
    return Asked(
        "beside",
        f"What is directly {side} the {reference.name}?",
        placed.name,
        sentence,
        reference.name,
    )


def sign_word(scene: Scene, rng: random.Random) -> Asked | None:
    """ "What word is on the sign?" or "What does the sign say?" """
    if scene.sign is None:
        return None
    word = scene.sign.word
    return Asked("sign", rng.choice(SIGN_QUESTIONS), word, f"The sign says {word}.")


def kind_of(scene: Scene, rng: random.Random) -> Asked | None:
    """ "What kind of animal is in the image?" where all animals are of one name."""
    pool = [(c, phrases.category_names(scene, c)) for c in phrases.NAMED_CATEGORIES]
    pool = [(category, names) for category, names in pool if len(names) == 1]
    if not pool:
        return None
    category, names = rng.choice(pool)
    sentence = (
        f"The {category} in the image {phrases.is_(names[0])} {phrases.indefinite(names[0])}."
    )
    return Asked("kind", f"What kind of {category} is in the image?", names[0], sentence)


def colour_choice(scene: Scene, rng: random.Random) -> Asked | None:
    """ "Is the mat under the dog red or blue?", or the same about the background."""
    placed = unique_object(scene, rng, with_mat=True)
    if placed is None or placed.mat is None or rng.random() < 0.5:
        thing, colour, sentence = (
            "background",
            scene.background,
            f"The background is {scene.background}.",
        )
    else:
        thing, colour, sentence = f"mat under the {placed.name}", placed.mat, mat_sentence(placed)
    offered = [colour, other_colour(rng, colour)]
    rng.shuffle(offered)
    return Asked("color choice", f"Is the {thing} {offered[0]} or {offered[1]}?", colour, sentence)


OPEN: dict[str, Family] = {
    "count": count,
    "count all": count_all,
    "what at": what_at,
    "where": where,
    "mat": mat_colour,
    "on mat": on_mat,
    "background": background,
    "beside": beside,
    "sign": sign_word,
    "kind": kind_of,
    "color choice": colour_choice,
}


def _in_line(scene: Scene, reference: Placed, step: tuple[int, int]) -> list[Placed | None]:
    """What stands in the row or column on one side of the reference; None stands for the sign."""
    found: list[Placed | None] = []
    row, column = reference.row + step[0], reference.column + step[1]
    while 0 <= row < GRID and 0 <= column < GRID:
        found += [
            placed for placed in scene.objects if (placed.row, placed.column) == (row, column)
        ]
        sign = scene.sign
        if sign and sign.row == row and column in (sign.column, sign.column + 1):
            found.append(None)
        row, column = row + step[0], column + step[1]
    return found

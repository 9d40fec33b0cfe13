"""Balanced questions about evaluation scenes: which are wished, and images that can have them.

In: a deck of wishes and a random generator. Out: scenes of the evaluation split with questions.
Half of the yes/no answers are yes and asked counts run evenly from 1 to 4, so that an answer from
the words alone gains little. Writes nothing.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from components.data.pocket.questions import families as questions
from components.data.pocket.questions.asked import Asked
from components.data.pocket.scenes.scene import Scene, sample_scene

PAIR_TRIES = 60  # scenes looked at before a pair of wishes gets two images

Wish = tuple[str, str | None]  # a family and the answer it must have, or None for any
VQA_DECK: tuple[Wish, ...] = (
    ("presence", "yes"), ("presence", "no"), ("presence", "yes"), ("presence", "no"),
    ("place", "yes"), ("place", "no"), ("count", "1"), ("count", "2"), ("count", "3"),
    ("count", "4"), ("what at", None), ("what at", None), ("what at", None), ("mat", None),
    ("mat", None), ("on mat", None), ("background", None), ("where", None), ("sign", None),
    ("kind", None),
)  # fmt: skip
GQA_DECK: tuple[Wish, ...] = (
    ("presence", "yes"), ("presence", "no"), ("relation", "yes"), ("relation", "no"),
    ("both", "yes"), ("both", "no"), ("mat check", "yes"), ("mat check", "no"), ("what at", None),
    ("what at", None), ("what at", None), ("mat", None), ("mat", None), ("on mat", None),
    ("background", None), ("background", None), ("beside", None), ("beside", None), ("kind", None),
    ("color choice", None),
)  # fmt: skip

Made = TypeVar("Made")


def find(
    rng: random.Random, kinds: dict[str, float], make: Callable[[Scene], Made | None]
) -> tuple[Scene, Made]:
    """Draw evaluation scenes, their kinds by weight, until something can be made of one."""
    while True:
        scene = sample_scene(rng, rng.choices(list(kinds), list(kinds.values()))[0], "eval")
        made = make(scene)
        if made is not None:
            return scene, made


def images(
    rng: random.Random, deck: Sequence[Wish], number: int
) -> list[tuple[Scene, list[Asked]]]:
    """Images with the questions of a shuffled deck, two to an image where both fit."""
    wishes = [deck[i % len(deck)] for i in range(number)]
    rng.shuffle(wishes)
    images: list[tuple[Scene, list[Asked]]] = []
    for start in range(0, number, 2):
        pair = wishes[start : start + 2]
        found = _together(rng, pair)
        if found:
            images.append(found)
        else:
            images += [
                find(rng, kinds_for(wish[0]), partial(_granted, rng=rng, wishes=[wish]))
                for wish in pair
            ]
    return images


def yes_and_no(scene: Scene, rng: random.Random, family: str) -> list[Asked] | None:
    """A question of the family with the answer yes and one with no, or None."""
    return _granted(scene, rng, [(family, "yes"), (family, "no")])


def kinds_for(*families: str) -> dict[str, float]:
    """The kinds of scene, with weights, in which all the families may be asked."""
    if any("sign" in family for family in families):
        return {"sign": 1.0}
    if any("count" in family for family in families):
        return {"objects": 1.0}
    return {"objects": 0.85, "groceries": 0.15}


def _together(rng: random.Random, wishes: list[Wish]) -> tuple[Scene, list[Asked]] | None:
    """An image with all the wished questions, or None where none was found soon."""
    kinds = kinds_for(*(family for family, _ in wishes))
    for _ in range(PAIR_TRIES):
        scene = sample_scene(rng, rng.choices(list(kinds), list(kinds.values()))[0], "eval")
        asked = _granted(scene, rng, wishes)
        if asked and len({one.question for one in asked}) == len(asked):
            return scene, asked
    return None


def _granted(scene: Scene, rng: random.Random, wishes: list[Wish]) -> list[Asked] | None:
    """The wished questions about the scene, or None if one of them cannot be asked."""
    granted = []
    for family, answer in wishes:
        asked = questions.ask(
            scene, rng, family, answer == "yes" if answer in ("yes", "no") else None
        )
        if asked is None or answer not in (None, asked.answer):
            return None
        granted.append(asked)
    return granted

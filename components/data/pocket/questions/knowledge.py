"""Questions about a scene that need a fact from outside the image: what OK-VQA is written from.

In: a `Scene` and a random generator. Out: an `Asked`, or None where the scene allows no such
question. The facts are what things are known for (`choices.USES`) and what kind of thing they are,
which the talk without an image (`talk.py`) teaches.
"""

import random

from components.data.pocket.questions import phrases
from components.data.pocket.questions.asked import Asked, Family
from components.data.pocket.questions.choices import USES
from components.data.pocket.scenes.scene import Placed, Scene
from components.data.pocket.things import BY_NAME


def fitting_thing(scene: Scene, rng: random.Random) -> Asked | None:
    """ "Which thing in the image fits this: it barks?" Each use fits one thing."""
    placed = _known(scene, rng)
    if placed is None:
        return None
    use = USES[placed.name]
    return Asked(
        "fits",
        f'Which thing in the image fits "{use}"?',
        placed.name,
        f'The {placed.name} fits "{use}".',
        placed.name,
    )


def known_for(scene: Scene, rng: random.Random) -> Asked | None:
    """ "What is the thing at the top left known for?" """
    placed = _known(scene, rng)
    if placed is None:
        return None
    use = USES[placed.name]
    question = f"What is the thing {phrases.at(placed)} known for?"
    return Asked("known for", question, use, f"The {placed.name} is known for this: {use}.")


def kind_at(scene: Scene, rng: random.Random) -> Asked | None:
    """ "What kind of thing is at the top left?" about fruit, animals and vehicles."""
    pool = [p for p in scene.objects if BY_NAME[p.name].category in phrases.NAMED_CATEGORIES]
    if not pool:
        return None
    placed = rng.choice(pool)
    kind = BY_NAME[placed.name].category
    question = f"What kind of thing is {phrases.at(placed)}?"
    return Asked("kind at", question, kind, f"The {placed.name} is a kind of {kind}.")


KNOWLEDGE: dict[str, Family] = {"fits": fitting_thing, "known for": known_for, "kind at": kind_at}


def ask_knowledge(scene: Scene, rng: random.Random) -> Asked | None:
    """Ask one knowledge question of any family that the scene allows, or None."""
    families = list(KNOWLEDGE.values())
    rng.shuffle(families)
    return next((asked for family in families if (asked := family(scene, rng))), None)


def _known(scene: Scene, rng: random.Random) -> Placed | None:
    pool = [placed for placed in scene.objects if placed.name in USES]
    return rng.choice(pool) if pool else None

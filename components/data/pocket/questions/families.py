"""Questions about a scene by family: what VQAv2, GQA, POPE and MME are written from.

In: a `Scene`, a random generator and the name of a family. Out: `Asked` records. The wording is in
`yes_no.py`, `open_questions.py` and `phrases.py` only; no response-format prompt is added (the
mixture and the benchmarks do that). A caller may fix the answer of a yes/no family, and so
balances it exactly.
"""

import random

from components.data.pocket.questions.asked import Asked
from components.data.pocket.questions.open_questions import OPEN
from components.data.pocket.questions.yes_no import YES_NO
from components.data.pocket.scenes.scene import Scene

FAMILIES = (*YES_NO, *OPEN)


def ask(scene: Scene, rng: random.Random, family: str, want: bool | None = None) -> Asked | None:
    """Ask one question of a family; `want` fixes a yes/no answer, else a coin does."""
    if family in YES_NO:
        return YES_NO[family](scene, rng, rng.random() < 0.5 if want is None else want)
    return OPEN[family](scene, rng)


def ask_many(
    scene: Scene, rng: random.Random, families: dict[str, float], number: int
) -> list[Asked]:
    """Ask up to `number` different questions, families drawn by weight; may give fewer where the
    scene is poor.
    """
    found: dict[str, Asked] = {}
    for _ in range(4 * number):
        family = rng.choices(list(families), list(families.values()))[0]
        asked = ask(scene, rng, family)
        if asked is not None and asked.question not in found:
            found[asked.question] = asked
            if len(found) == number:
                break
    return list(found.values())

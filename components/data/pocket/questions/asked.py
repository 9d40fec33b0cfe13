"""What a question about a scene is, and how its subject is picked and its answer said.

In: a `Scene`. Out: the `Asked` record, and the pickers and sentences that yes/no questions
(`yes_no.py`) and open questions (`open_questions.py`) share. Asks nothing itself.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from components.data.pocket.questions import phrases
from components.data.pocket.scenes.scene import Placed, Scene
from components.data.pocket.things import BY_NAME, COLOURS, OBJECTS

NAMES = tuple(thing.name for thing in OBJECTS)
SIGN_QUESTIONS = ("What word is on the sign?", "What does the sign say?")
SIDES: dict[str, tuple[int, int]] = {  # relation -> step (row, column) off the reference
    "to the left of": (0, -1),
    "to the right of": (0, 1),
    "above": (-1, 0),
    "below": (1, 0),
}
SINGULARS = {
    "grapes": "bunch of grapes",
    "bread": "loaf of bread",
    "cheese": "piece of cheese",
    "corn": "ear of corn",
    "broccoli": "head of broccoli",
}


@dataclass(frozen=True)
class Asked:
    """A question with its short answer."""

    family: str
    question: str
    answer: str
    sentence: str
    """The answer as a full sentence (GQA's fullAnswer, LLaVA-Instruct's answers)."""
    subject: str = ""
    """The name of the object it asks about, if it is about one."""

    @property
    def answer_type(self) -> str:
        """VQAv2's answer types: "yes/no", "number" or "other"."""
        if self.answer in ("yes", "no"):
            return "yes/no"
        return "number" if self.answer.isdigit() else "other"


Family = Callable[[Scene, random.Random], Asked | None]
YesNoFamily = Callable[[Scene, random.Random, bool], Asked | None]


def unique_object(scene: Scene, rng: random.Random, with_mat: bool = False) -> Placed | None:
    """An object whose name is there once, on a mat if asked so, or None."""
    pool = [p for p in scene.objects if scene.count(p.name) == 1 and (p.mat or not with_mat)]
    return rng.choice(pool) if pool else None


def counted_name(scene: Scene, rng: random.Random) -> str | None:
    """An object to count, or None.

    Single objects are refused mostly, else "1" would answer most counts.
    """
    repeated = [name for name in scene.names() if scene.count(name) > 1]
    if repeated and rng.random() < 0.9:
        return rng.choice(repeated)
    return rng.choice(scene.names()) if rng.random() < 0.2 else None


def other_colour(rng: random.Random, colour: str) -> str:
    """A colour that is another one."""
    return rng.choice([other for other in COLOURS if other != colour])


def count_sentence(name: str, number: int) -> str:
    """How many of a thing there are, as a sentence."""
    if number == 1:
        return f"There is one {singular(name)} in the image."
    return f"There are {phrases.NUMBER_WORDS[number]} {BY_NAME[name].plural} in the image."


def place_sentence(placed: Placed) -> str:
    """Where an object is, as a sentence."""
    return f"The {placed.name} {phrases.is_(placed.name)} {phrases.at(placed)}."


def mat_sentence(placed: Placed) -> str:
    """What an object stands on, as a sentence."""
    return f"The mat under the {placed.name} is {placed.mat}."


def singular(name: str) -> str:
    """One of a thing without article, as "only one ..." needs it: "dog", "bunch of grapes"."""
    return SINGULARS.get(name, name)

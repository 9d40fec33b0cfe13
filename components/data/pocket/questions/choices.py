"""Multiple-choice questions about a scene: what A-OKVQA and MMBench are written from.

In: a `Scene` and a random generator. Out: `Choice` records with options and the index of the right
one. The image is needed for each: the wrong options fit the wording as well as the right one
does. No letters are written here; the mixture and the benchmarks do that.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from components.data.pocket.questions import open_questions, phrases
from components.data.pocket.questions.asked import NAMES, Asked
from components.data.pocket.questions.yes_no import presence_of
from components.data.pocket.scenes.scene import Scene
from components.data.pocket.things import COLOURS, OBJECTS, SIGN_WORDS

NUM_OPTIONS = 4
USES: dict[str, str] = {
    "dog": "it barks",
    "cat": "it catches mice",
    "horse": "it carries a rider",
    "elephant": "it has a trunk",
    "fish": "it swims in water",
    "frog": "it jumps and croaks",
    "penguin": "it lives on the ice",
    "butterfly": "it drinks from flowers",
    "car": "it drives on the road",
    "bus": "it carries many people",
    "bicycle": "it has pedals",
    "airplane": "it flies with wings",
    "boat": "it floats on water",
    "rocket": "it flies to space",
    "train": "it runs on rails",
    "tractor": "it works on a farm",
    "chair": "you sit on it",
    "clock": "it tells the time",
    "book": "you read it",
    "umbrella": "it keeps off rain",
    "key": "it opens a lock",
    "ball": "you kick it",
    "hat": "you wear it",
    "guitar": "it makes music",
}
"""What a thing is known for, one phrase each; the same phrases are taught as text (`talk.py`)."""


@dataclass(frozen=True)
class Choice:
    """A question, its options in their shown order, and the index of the right one."""

    family: str
    question: str
    options: tuple[str, ...]
    answer_index: int
    rationale: str

    @property
    def answer(self) -> str:
        """The text of the right option."""
        return self.options[self.answer_index]


ChoiceFamily = Callable[[Scene, random.Random], Choice | None]


def which_present(scene: Scene, rng: random.Random) -> Choice:
    """ "Which of these is in the image?" """
    name = rng.choice(scene.names())
    absent = [other for other in NAMES if other not in scene.names()]
    rationale = presence_of(scene, name).sentence.removeprefix("Yes, ").capitalize()
    return _choice(rng, "present", "Which of these is in the image?", name, absent, rationale)


def which_absent(scene: Scene, rng: random.Random) -> Choice | None:
    """ "Which of these is not in the image?" where three things are there."""
    present = scene.names()
    if len(present) < NUM_OPTIONS - 1:
        return None
    name = rng.choice([other for other in NAMES if other not in present])
    rationale = presence_of(scene, name).sentence.removeprefix("No, ").capitalize()
    return _choice(rng, "absent", "Which of these is not in the image?", name, present, rationale)


def what_at(scene: Scene, rng: random.Random) -> Choice:
    """ "What is at the top left?" among objects; those elsewhere in the image are offered first."""
    asked = open_questions.what_at(scene, rng)
    return _choice(
        rng,
        "what at",
        asked.question,
        asked.answer,
        _names_near(scene, rng, asked.answer),
        asked.sentence,
    )


def mat_colour(scene: Scene, rng: random.Random) -> Choice | None:
    """ "What color is the mat under the dog?" """
    asked = open_questions.mat_colour(scene, rng)
    return _of(rng, asked, list(COLOURS))


def background(scene: Scene, rng: random.Random) -> Choice | None:
    """ "What color is the background?" """
    asked = open_questions.background(scene, rng)
    return _of(rng, asked, list(COLOURS))


def count(scene: Scene, rng: random.Random) -> Choice | None:
    """ "How many dogs are there?" among 1 to 4."""
    asked = open_questions.count(scene, rng)
    return _of(rng, asked, [str(number) for number in range(1, NUM_OPTIONS + 1)])


def sign_word(scene: Scene, rng: random.Random) -> Choice | None:
    """ "What word is on the sign?" """
    asked = open_questions.sign_word(scene, rng)
    return _of(rng, asked, SIGN_WORDS)


def edible(scene: Scene, rng: random.Random) -> Choice | None:
    """ "Which thing in the image can you eat?": one that is there, beside food that is not."""
    names = phrases.edible_names(scene)
    if len(names) != 1:
        return None
    absent = [
        thing.name
        for thing in OBJECTS
        if thing.category in ("fruit", "food") and thing.name != names[0]
    ]
    rationale = f"The {names[0]} in the image can be eaten."
    return _choice(
        rng, "edible", "Which thing in the image can you eat?", names[0], absent, rationale
    )


def known_for(scene: Scene, rng: random.Random) -> Choice | None:
    """ "What is true of the thing at the top left?" with what things are known for as options."""
    pool = [placed for placed in scene.objects if placed.name in USES]
    if not pool:
        return None
    placed = rng.choice(pool)
    use = USES[placed.name]
    question = f"What is true of the thing {phrases.at(placed)}?"
    others = [phrase for name, phrase in USES.items() if name != placed.name]
    return _choice(
        rng, "known for", question, use, others, f"It is {phrases.indefinite(placed.name)}: {use}."
    )


CHOICES: dict[str, ChoiceFamily] = {
    "present": which_present,
    "absent": which_absent,
    "what at": what_at,
    "mat": mat_colour,
    "background": background,
    "count": count,
    "sign": sign_word,
    "edible": edible,
    "known for": known_for,
}


def ask_choice(scene: Scene, rng: random.Random, family: str) -> Choice | None:
    """Ask one multiple-choice question of a family, or None where the scene allows none."""
    return CHOICES[family](scene, rng)


def _names_near(scene: Scene, rng: random.Random, name: str) -> list[str]:
    """Wrong object names: up to two that are elsewhere in the image, the rest absent."""
    present = [other for other in scene.names() if other != name]
    absent = [other for other in NAMES if other not in scene.names()]
    near = rng.sample(present, min(2, len(present)))
    return near + rng.sample(absent, NUM_OPTIONS - 1 - len(near))


def _of(rng: random.Random, asked: Asked | None, answers: Sequence[str]) -> Choice | None:
    """The open question as a choice; wrong options come out of all answers of its kind."""
    if asked is None:
        return None
    others = [answer for answer in answers if answer != asked.answer]
    return _choice(rng, asked.family, asked.question, asked.answer, others, asked.sentence)


def _choice(
    rng: random.Random,
    family: str,
    question: str,
    answer: str,
    others: Sequence[str],
    rationale: str,
) -> Choice:
    options = [answer, *rng.sample(list(others), NUM_OPTIONS - 1)]
    rng.shuffle(options)
    return Choice(family, question, tuple(options), options.index(answer), rationale)

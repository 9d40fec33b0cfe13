"""Talk in whole sentences: text-only dialogues about the world, and LLaVA-Instruct on a scene.

In: a random generator, and a `Scene` for the talk about an image. Out: lists of (question, answer)
turns. The facts are those that the multiple-choice questions ask for (`choices.USES`) and the
nutrition table, so that the base model and the mixture can teach what the benchmarks test.
"""

import random
from collections.abc import Callable

from components.data.pocket.questions import families as questions
from components.data.pocket.questions import phrases
from components.data.pocket.questions.asked import NAMES
from components.data.pocket.questions.choices import USES
from components.data.pocket.scenes.scene import Scene
from components.data.pocket.things import BY_NAME, NUTRITION, OBJECTS

Turn = tuple[str, str]
OPPOSITES = (
    ("big", "small"), ("hot", "cold"), ("up", "down"), ("left", "right"), ("top", "bottom"),
    ("open", "closed"), ("day", "night"), ("fast", "slow"), ("old", "new"), ("yes", "no"),
    ("above", "below"), ("north", "south"), ("empty", "full"), ("wet", "dry"), ("early", "late"),
    ("happy", "sad"),
)  # fmt: skip
FRUIT_COLOURS = {
    "apple": "red", "banana": "yellow", "tangerine": "orange", "grapes": "purple", "pear": "green",
    "strawberry": "red", "pineapple": "yellow", "watermelon": "green outside and red inside",
}  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GREETINGS: tuple[Turn, ...] = (
    ("Hello!", "Hello! How can I help you?"),
    ("Good morning.", "Good morning! What would you like to know?"),
    ("Can you help me?", "Yes, I am happy to help."),
    ("Thank you.", "You are welcome."),
)


def fruit_colour(rng: random.Random) -> Turn:
    """The colour of a fruit."""
    name = rng.choice(list(FRUIT_COLOURS))
    answer = f"{_subject(name)} {phrases.is_(name)} {FRUIT_COLOURS[name]}."
    return f"What color {phrases.is_(name)} {phrases.indefinite(name)}?", answer


def nutrition(rng: random.Random) -> Turn:
    """One figure of the nutrition table."""
    name = rng.choice(list(NUTRITION))
    field = rng.choice(NUTRITION[name]._fields)
    value = getattr(NUTRITION[name], field)
    if field == "calories":
        return (
            f"How many calories are in 100 g of {name}?",
            f"100 g of {name} have {value} calories.",
        )
    return f"How much {field} is in 100 g of {name}?", f"100 g of {name} have {value} g of {field}."


def category(rng: random.Random) -> Turn:
    """Whether a thing is a fruit, an animal or a vehicle; half the answers are yes."""
    name = rng.choice([t.name for t in OBJECTS if t.category in phrases.NAMED_CATEGORIES])
    right = BY_NAME[name].category
    said = (
        right
        if rng.random() < 0.5
        else rng.choice([c for c in phrases.NAMED_CATEGORIES if c != right])
    )
    yes = "Yes" if said == right else "No"
    verb = phrases.is_(name)
    article = "an" if right == "animal" else "a"
    asked = "an" if said == "animal" else "a"
    answer = f"{yes}, {phrases.indefinite(name)} {verb} {article} {right}."
    return f"{verb.capitalize()} {phrases.indefinite(name)} {asked} {said}?", answer


def known_for(rng: random.Random) -> Turn:
    """What a thing is known for, or which thing is known for it."""
    name, use = rng.choice(list(USES.items()))
    if rng.random() < 0.5:
        return f"What is true of {phrases.indefinite(name)}?", f"{phrases.capital(use)}."
    return f'Which thing fits "{use}"?', f"{_subject(name)}: {use}."


def opposite(rng: random.Random) -> Turn:
    """The opposite of a word."""
    pair = list(rng.choice(OPPOSITES))
    rng.shuffle(pair)
    return f"What is the opposite of {pair[0]}?", f"The opposite of {pair[0]} is {pair[1]}."


def spelling(rng: random.Random) -> Turn:
    """The letters of an object's name."""
    name = rng.choice(NAMES)
    return f"How do you spell {name}?", f"{name} is spelled {' '.join(name)}."


def arithmetic(rng: random.Random) -> Turn:
    """A sum or a difference of numbers up to nine."""
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    if rng.random() < 0.5:
        return f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}."
    a, b = max(a, b), min(a, b)
    return f"What is {a} minus {b}?", f"{a} minus {b} is {a - b}."


def comparison(rng: random.Random) -> Turn:
    """The larger of two numbers."""
    a, b = rng.sample(range(10), 2)
    return f"Which is more, {a} or {b}?", f"{max(a, b)} is more than {min(a, b)}."


def next_day(rng: random.Random) -> Turn:
    """The day after a day."""
    index = rng.randrange(len(DAYS))
    return (
        f"Which day comes after {DAYS[index]}?",
        f"{DAYS[(index + 1) % len(DAYS)]} comes after {DAYS[index]}.",
    )


def plural(rng: random.Random) -> Turn:
    """The plural of an object's name."""
    thing = rng.choice(OBJECTS)
    return f"What do you call several of {thing.name}?", f"You call them {thing.plural}."


TOPICS: tuple[Callable[[random.Random], Turn], ...] = (
    fruit_colour, nutrition, category, known_for, opposite, spelling, arithmetic, comparison,
    next_day, plural,
)  # fmt: skip


def dialogue(rng: random.Random) -> list[Turn]:
    """A text-only dialogue of two to four turns, some with a greeting first."""
    turns = [rng.choice(GREETINGS)] if rng.random() < 0.2 else []
    while len(turns) < 2 or (len(turns) < 4 and rng.random() < 0.5):
        turn = rng.choice(TOPICS)(rng)
        if turn not in turns:
            turns.append(turn)
    return turns


def conversation(scene: Scene, rng: random.Random) -> list[Turn]:
    """A conversation of one to four turns about the image, answered in sentences."""
    listed = phrases.enumerate_words(phrases.contents(scene))
    turns = [
        (
            "What does the image show?",
            f"The image shows {listed} on a {scene.background} background.",
        )
    ]
    families = {
        "presence": 2.0,
        "where": 2.0,
        "count": 1.5,
        "mat": 1.5,
        "background": 1.0,
        "what at": 1.5,
        "sign": 3.0,
    }
    asked = questions.ask_many(scene, rng, families, rng.randint(1, 3))
    turns += [(one.question, one.sentence) for one in asked]
    return turns if len(turns) <= 2 or rng.random() < 0.5 else turns[1:]


def detailed(scene: Scene, rng: random.Random) -> list[Turn]:
    """A request for a detailed description, and the description."""
    request = rng.choice(
        (
            "Describe the image in detail.",
            "Please describe this picture in detail.",
            "What is in the picture? Tell me everything.",
        )
    )
    return [(request, phrases.detail(scene))]


def reasoning(scene: Scene, rng: random.Random) -> list[Turn]:
    """A question that needs the image and a fact, answered with its reason."""
    return [rng.choice(REASONING)(scene)]


def _eat(scene: Scene) -> Turn:
    names = phrases.edible_names(scene)
    question = "What in this picture could you eat, and why?"
    if not names:
        return question, "You could eat nothing in this picture, because no food is in it."
    return question, f"You could eat {_the(names)}, because {_pronoun(names)} food."


def _travel(scene: Scene) -> Turn:
    names = phrases.category_names(scene, "vehicle")
    question = "Could you travel with something in this picture?"
    if not names:
        return question, "No, there is no vehicle in this picture."
    reason = _pronoun(names, "a vehicle", "vehicles")
    return question, f"Yes, you could travel with {_the(names)}, because {reason}."


def _alive(scene: Scene) -> Turn:
    names = phrases.category_names(scene, "animal")
    question = "Which things in this picture can move by themselves because they are alive?"
    if not names:
        return question, "None of them, because there is no animal in this picture."
    return (
        question,
        f"{phrases.capital(_the(names))}, because {_pronoun(names, 'an animal', 'animals')}.",
    )


def _most(scene: Scene) -> Turn:
    question = "Is there more than one of anything in this picture?"
    many = [name for name in scene.names() if scene.count(name) > 1]
    if not many:
        return question, "No, there is only one of each thing."
    listed = phrases.enumerate_words([phrases.counted(name, scene.count(name)) for name in many])
    return question, f"Yes, there are {listed}."


REASONING: tuple[Callable[[Scene], Turn], ...] = (_eat, _travel, _alive, _most)


def _the(names: list[str]) -> str:
    return phrases.enumerate_words([f"the {name}" for name in names])


def _pronoun(names: list[str], one: str = "", many: str = "") -> str:
    """The reason's subject and verb: "it is an animal", "they are animals"."""
    if len(names) == 1 and names[0] not in phrases.PLURAL_ONLY:
        return f"it is {one}".rstrip()
    return f"they are {many}".rstrip()


def _subject(name: str) -> str:
    return phrases.capital(phrases.indefinite(name))

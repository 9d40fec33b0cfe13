"""Yes/no questions about a scene: the families that POPE, MME and the verifying half of GQA ask.

In: a `Scene`, a random generator and the answer that is wanted. Out: an `Asked`, or None where the
scene allows no such question. Nothing is asked whose answer would be open to dispute.
"""

import random

from components.data.pocket.questions import phrases
from components.data.pocket.questions.asked import (
    NAMES,
    SIDES,
    Asked,
    YesNoFamily,
    count_sentence,
    counted_name,
    mat_sentence,
    other_colour,
    place_sentence,
    singular,
    unique_object,
)
from components.data.pocket.scenes.scene import GRID, Scene, position_words
from components.data.pocket.things import BY_NAME, SIGN_WORDS


def presence_of(scene: Scene, name: str) -> Asked:
    """Ask whether this object is in the image, as POPE does."""
    question = f"{phrases.is_there(name)} in the image?"
    verb = phrases.is_(name)
    if scene.count(name):
        sentence = f"Yes, there {verb} {phrases.indefinite(name)} in the image."
        return Asked("presence", question, "yes", sentence, name)
    return Asked("presence", question, "no", f"No, there {verb} no {name} in the image.", name)


def presence(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Is there a dog in the image?" with an absent object drawn at random for "no"."""
    present = scene.names()
    pool = present if want else [name for name in NAMES if name not in present]
    return presence_of(scene, rng.choice(pool))


def any_of_category(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Is there any fruit in the image?" """
    pool = [c for c in phrases.NAMED_CATEGORIES if bool(phrases.category_names(scene, c)) == want]
    if not pool:
        return None
    category = rng.choice(pool)
    names = phrases.category_names(scene, category)
    sentence = f"No, there is no {category} in the image."
    if want:
        listed = phrases.enumerate_words([phrases.indefinite(name) for name in names])
        sentence = f"Yes, there {phrases.is_(names[0])} {listed} in the image."
    return _yes_no("category", f"Is there any {category} in the image?", want, sentence)


def exact_count(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Are there two dogs in the image?" about an object that is there."""
    name = counted_name(scene, rng)
    if name is None:
        return None
    number = scene.count(name)
    said = number if want else rng.choice([n for n in (1, 2, 3, 4) if n != number])
    if said == 1:
        question = f"Is there only one {singular(name)} in the image?"
    else:
        question = f"Are there {phrases.NUMBER_WORDS[said]} {BY_NAME[name].plural} in the image?"
    return _yes_no("exact count", question, want, count_sentence(name, number), name)


def at_place(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Is the dog at the top left?" about an object that is there once."""
    placed = unique_object(scene, rng)
    if placed is None:
        return None
    others = [
        position_words(r, c)
        for r in range(GRID)
        for c in range(GRID)
        if (r, c) != (placed.row, placed.column)
    ]
    said = placed.position if want else rng.choice(others)
    question = f"{_is(placed.name)} the {placed.name} {phrases.at_position(said)}?"
    return _yes_no("place", question, want, place_sentence(placed), placed.name)


def relation(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Is the dog to the left of the car?": both there once, and apart that way."""
    unique = [p for p in scene.objects if scene.count(p.name) == 1]
    holds = [
        (a, b, side)
        for a in unique
        for b in unique
        for side, (down, right) in SIDES.items()
        if (a.row - b.row) * down + (a.column - b.column) * right > 0
    ]
    if not holds:
        return None
    a, b, side = rng.choice(holds)
    first, second = (a, b) if want else (b, a)
    question = f"{_is(first.name)} the {first.name} {side} the {second.name}?"
    return _yes_no(
        "relation",
        question,
        want,
        f"The {a.name} {phrases.is_(a.name)} {side} the {b.name}.",
        first.name,
    )


def mat_is(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Is the mat under the dog red?" """
    placed = unique_object(scene, rng, with_mat=True)
    if placed is None or placed.mat is None:
        return None
    said = placed.mat if want else other_colour(rng, placed.mat)
    return _yes_no(
        "mat check",
        f"Is the mat under the {placed.name} {said}?",
        want,
        mat_sentence(placed),
        placed.name,
    )


def background_is(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Is the background red?" """
    said = scene.background if want else other_colour(rng, scene.background)
    return _yes_no(
        "background check",
        f"Is the background {said}?",
        want,
        f"The background is {scene.background}.",
    )


def sign_is(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Does the sign say STOP?" """
    if scene.sign is None:
        return None
    word = scene.sign.word
    said = word if want else rng.choice([other for other in SIGN_WORDS if other != word])
    return _yes_no("sign check", f"Does the sign say {said}?", want, f"The sign says {word}.")


def both(scene: Scene, rng: random.Random, want: bool) -> Asked | None:
    """ "Are there both a dog and a car in the image?" with at least one of them there."""
    present = list(scene.names())
    if want and len(present) < 2:
        return None
    first, *rest = rng.sample(present, len(present))
    second = rest[0] if want else rng.choice([name for name in NAMES if name not in present])
    pair = [first, second]
    rng.shuffle(pair)
    words = phrases.enumerate_words([phrases.indefinite(name) for name in pair])
    sentence = f"Yes, there are both {words}." if want else presence_of(scene, second).sentence
    return _yes_no("both", f"Are there both {words} in the image?", want, sentence)


YES_NO: dict[str, YesNoFamily] = {
    "presence": presence,
    "category": any_of_category,
    "exact count": exact_count,
    "place": at_place,
    "relation": relation,
    "mat check": mat_is,
    "background check": background_is,
    "sign check": sign_is,
    "both": both,
}


def _yes_no(family: str, question: str, want: bool, sentence: str, subject: str = "") -> Asked:
    word = "yes" if want else "no"
    if not sentence.startswith(("Yes, ", "No, ")):
        sentence = f"{word.capitalize()}, {sentence[0].lower() + sentence[1:]}"
    return Asked(family, question, word, sentence, subject)


def _is(name: str) -> str:
    return phrases.is_(name).capitalize()

"""Every question and choice is checked against an own reading of its words, over random scenes."""

import random
from collections import Counter

import pytest

from components.data.pocket.questions import choices
from components.data.pocket.questions import families as questions
from components.data.pocket.scenes.scene import sample_scene
from components.data.pocket.things import OBJECTS
from tests.data.pocket.reading import right_options, truth

KINDS = ("objects", "sign", "groceries")
EDIBLE = {"fruit", "food"}


def scenes(number: int, kinds=KINDS, split="train"):
    rng = random.Random(11)
    return [(sample_scene(rng, kind, split), rng) for _ in range(number) for kind in kinds]


@pytest.mark.parametrize("family", questions.FAMILIES)
def test_every_answer_is_true_of_its_scene(family):
    asked_at_all = 0
    for scene, rng in scenes(150):
        asked = questions.ask(scene, rng, family)
        if asked is not None:
            asked_at_all += 1
            assert asked.answer == truth(scene, asked.question), scene.content
    assert asked_at_all > 20


@pytest.mark.parametrize("family", questions.YES_NO)
@pytest.mark.parametrize("want", [True, False], ids=["yes", "no"])
def test_yes_no_gives_the_answer_that_is_wanted(family, want):
    for scene, rng in scenes(40):
        asked = questions.ask(scene, rng, family, want)
        assert asked is None or asked.answer == ("yes" if want else "no")
        if asked is not None:
            assert asked.sentence.startswith("Yes, " if want else "No, ")


@pytest.mark.parametrize("family", choices.CHOICES)
def test_exactly_one_option_is_right(family):
    seen = 0
    places = Counter()
    for scene, rng in scenes(250):
        choice = choices.ask_choice(scene, rng, family)
        if choice is None:
            continue
        seen += 1
        places[choice.answer_index] += 1
        assert len(set(choice.options)) == choices.NUM_OPTIONS
        assert right_options(scene, choice.question, choice.options) == [choice.answer], (
            scene.content
        )
    assert seen > 20
    assert set(places) == set(range(choices.NUM_OPTIONS))


def test_counts_are_spread():
    answers = Counter()
    for scene, rng in scenes(1500, kinds=("objects",)):
        asked = questions.ask(scene, rng, "count")
        if asked:
            answers[asked.answer] += 1
    total = sum(answers.values())
    assert set(answers) == {"1", "2", "3", "4"}
    assert all(0.15 < count / total < 0.4 for count in answers.values()), answers


def test_ask_many_repeats_no_question():
    for scene, rng in scenes(50):
        asked = questions.ask_many(scene, rng, dict.fromkeys(questions.FAMILIES, 1.0), 8)
        assert len({one.question for one in asked}) == len(asked) > 2


def test_every_thing_is_known_for_one_use():
    assert set(choices.USES) == {t.name for t in OBJECTS if t.category not in EDIBLE}
    assert len(set(choices.USES.values())) == len(choices.USES)

"""Captions, descriptions, regions and talk say what the scene shows, no more and no less."""

import json
import random
import re

import pytest

from components.data.pocket.questions import phrases, talk
from components.data.pocket.scenes.scene import Scene, sample_scene
from components.data.pocket.things import BY_NAME, FRUIT, NUTRITION, OBJECTS

NAMES = "|".join(thing.name for thing in OBJECTS)
PLACED = (
    rf"(?:an? |some |\b)({NAMES}) (?:at|in) the "
    r"([a-z]+(?: (?:left|center|right))?)(?: on a (\w+) mat)?"
)
DETAIL = (
    rf"(?:At|In) the ([a-z ]+) there (?:is|are) (?:an? |some )?({NAMES})"
    r"(?: on a (\w+) mat)?\."
)
NUMBERS = {"a": 1, "an": 1, "some": 1, "two": 2, "three": 3, "four": 4}


def scenes(number: int, kinds=("objects", "sign", "groceries")):
    rng = random.Random(5)
    return [(sample_scene(rng, kind), rng) for _ in range(number) for kind in kinds]


def placed_in(scene: Scene) -> list[tuple[str, str, str]]:
    return sorted((p.name, p.position, p.mat or "") for p in scene.objects)


def counted_in(text: str) -> dict[str, int]:
    """What a sentence counts: {"dog": 2, "apple": 1}."""
    found = {}
    for thing in OBJECTS:
        if m := re.search(rf"\b(two|three|four) {thing.plural}\b", text):
            found[thing.name] = NUMBERS[m[1]]
        elif re.search(rf"\b(an?|some) {thing.name}\b", text) or (
            thing.name == "grapes" and re.search(r"(?<!of )\bgrapes\b", text, re.IGNORECASE)
        ):
            found[thing.name] = 1
    return found


def test_a_caption_tells_everything():
    for scene, rng in scenes(120):
        text = phrases.caption(scene, rng)
        assert sorted(re.findall(PLACED, text)) == placed_in(scene), text
        backgrounds = (f"a {scene.background} picture", f"a {scene.background} background")
        assert any(b in text for b in (*backgrounds, f"background is {scene.background}"))
        assert ("sign that says" in text) == (scene.sign is not None)
        if scene.sign:
            assert f"says {scene.sign.word} {phrases.sign_place(scene.sign)}" in text
        assert text.endswith(".")
        assert text.isascii()


def test_a_sentence_caption_counts_everything():
    for scene, rng in scenes(120):
        text = phrases.sentence_caption(scene, rng)
        text = text[0].lower() + text[1:]
        assert counted_in(text) == {name: scene.count(name) for name in scene.names()}, text
        assert f"on a {scene.background} background" in text
        assert scene.sign is None or scene.sign.word in text


def test_a_detailed_description_has_one_sentence_per_object():
    for scene, _ in scenes(60):
        text = phrases.detail(scene)
        found = re.findall(DETAIL, text)
        assert sorted((name, place, mat) for place, name, mat in found) == placed_in(scene)
        assert (f"says {scene.sign.word}." in text) if scene.sign else ("sign" not in text)


def test_region_phrases_fit_one_object_only():
    for scene, _ in scenes(120):
        for placed in scene.objects:
            for text in phrases.region_phrases(scene, placed):
                m = re.fullmatch(rf"({NAMES})(?: (?:at|in) the ([a-z ]+)| on the (\w+) mat)?", text)
                assert m, text
                fitting = [
                    other
                    for other in scene.objects
                    if other.name == m[1]
                    and (m[2] is None or other.position == m[2])
                    and (m[3] is None or other.mat == m[3])
                ]
                assert fitting == [placed], text


def test_the_grocery_answer_is_json_and_names_only_fruit():
    empty = 0
    for scene, _ in scenes(200, kinds=("groceries",)):
        rows = json.loads(phrases.grocery_answer(scene))
        names = [row["name"] for row in rows]
        assert names == list(dict.fromkeys(p.name for p in scene.objects if p.name in FRUIT))
        for row in rows:
            assert set(row) == {"name", "nutrition"}
            assert row["nutrition"] == NUTRITION[row["name"]]._asdict()
        empty += not rows
    assert empty > 0


@pytest.mark.parametrize(
    ("name", "there", "three"),
    [
        ("apple", "Is there an apple", "three apples"),
        ("dog", "Is there a dog", "three dogs"),
        ("bread", "Is there some bread", "three loaves of bread"),
        ("grapes", "Are there grapes", "three bunches of grapes"),
        ("fish", "Is there a fish", "three fish"),
    ],
)
def test_articles_and_plurals(name, there, three):
    assert phrases.is_there(name) == there
    assert phrases.counted(name, 3) == three


def test_talk_about_an_image_is_true_of_it():
    for scene, rng in scenes(60):
        for question, answer in talk.conversation(scene, rng):
            if question == "What does the image show?":
                assert counted_in(answer) == {name: scene.count(name) for name in scene.names()}
            assert answer[0].isupper()
            assert answer.endswith(".")
        (question, answer) = talk.reasoning(scene, rng)[0]
        named = {name for name in BY_NAME if re.search(rf"\bthe {name}\b", answer, re.IGNORECASE)}
        wanted = {"eat": {"fruit", "food"}, "travel": {"vehicle"}, "alive": {"animal"}}
        for word, kinds in wanted.items():
            if word in question:
                assert named == {n for n in scene.names() if BY_NAME[n].category in kinds}
        assert named <= set(scene.names())


def test_dialogues_have_no_image_and_state_facts():
    rng = random.Random(3)
    for _ in range(200):
        turns = talk.dialogue(rng)
        assert 2 <= len(turns) <= 4
        for question, answer in turns:
            assert question
            assert answer
            assert "image" not in question
            if m := re.fullmatch(r"(\d) (plus|minus) (\d) is (\d+)\.", answer):
                a, b = int(m[1]), int(m[3])
                assert int(m[4]) == (a + b if m[2] == "plus" else a - b)
            if m := re.fullmatch(r"(\w+) is spelled ([a-z ]+)\.", answer):
                assert m[2].replace(" ", "") == m[1]

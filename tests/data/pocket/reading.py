"""An own reading of questions about scenes, against which the project's answers are checked.

It shares no code with the question writers: it reads the English and looks at the scene.
"""

import re
from collections.abc import Sequence

from components.data.pocket.questions.choices import USES
from components.data.pocket.scenes.scene import Placed, Scene
from components.data.pocket.things import BY_NAME, OBJECTS

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
EDIBLE = {"fruit", "food"}
ONE_OF = {
    "bunch of grapes": "grapes",
    "loaf of bread": "bread",
    "piece of cheese": "cheese",
    "ear of corn": "corn",
    "head of broccoli": "broccoli",
}


def cell_of(position: str) -> tuple[int, int]:
    if position == "center":
        return 1, 1
    row, column = position.split()
    rows, columns = ("top", "middle", "bottom"), ("left", "center", "right")
    return rows.index(row), columns.index(column)


def thing(words: str) -> str:
    """The object's name in "a dog", "some bread", "grapes", "ears of corn"."""
    words = re.sub(r"^(an?|some|the) ", "", words)
    words = ONE_OF.get(words, words)
    for kind in OBJECTS:
        if words in (kind.name, kind.plural):
            return kind.name
    raise AssertionError(f"no object {words!r}")


def only(scene: Scene, name: str) -> Placed:
    found = [placed for placed in scene.objects if placed.name == name]
    assert len(found) == 1, f"{name} is not unique"
    return found[0]


def on_side(a: Placed, b: Placed, side: str) -> bool:
    """Whether a stands on that side of b."""
    return {
        "to the left of": a.column < b.column,
        "to the right of": a.column > b.column,
        "above": a.row < b.row,
        "below": a.row > b.row,
    }[side]


def in_line(a: Placed, b: Placed, side: str) -> bool:
    same = a.row == b.row if side.startswith("to the") else a.column == b.column
    return same and on_side(a, b, side)


SIDES = r"(to the left of|to the right of|above|below)"
AT = r"(?:at|in) the ([a-z ]+)"


def truth(scene: Scene, question: str) -> str:
    """The answer to a question, worked out from the scene alone."""

    def said(pattern: str):
        return re.fullmatch(pattern, question)

    def yes(value: bool) -> str:
        return "yes" if value else "no"

    names = [placed.name for placed in scene.objects]
    if m := said(r"(?:Is|Are) there both (.+) and (.+) in the image\?"):
        return yes(thing(m[1]) in names and thing(m[2]) in names)
    if m := said(r"Is there any (\w+) in the image\?"):
        return yes(any(BY_NAME[name].category == m[1] for name in names))
    if m := said(r"Is there only one (.+) in the image\?"):
        return yes(names.count(thing(m[1])) == 1)
    if m := said(r"Are there (two|three|four) (.+) in the image\?"):
        return yes(names.count(thing(m[2])) == NUMBERS[m[1]])
    if m := said(r"(?:Is|Are) there (.+) in the image\?"):
        return yes(thing(m[1]) in names)
    if m := said(rf"(?:Is|Are) the (\w+) {SIDES} the (\w+)\?"):
        return yes(on_side(only(scene, m[1]), only(scene, m[3]), m[2]))
    if m := said(r"Is the mat under the (\w+) (\w+) or (\w+)\?"):
        assert only(scene, m[1]).mat in (m[2], m[3])
        return str(only(scene, m[1]).mat)
    if m := said(r"Is the mat under the (\w+) (\w+)\?"):
        assert only(scene, m[1]).mat
        return yes(only(scene, m[1]).mat == m[2])
    if m := said(r"Is the background (\w+) or (\w+)\?"):
        assert scene.background in (m[1], m[2])
        return scene.background
    if m := said(r"Is the background (\w+)\?"):
        return yes(scene.background == m[1])
    if m := said(rf"(?:Is|Are) the (\w+) {AT}\?"):
        placed = only(scene, m[1])
        return yes((placed.row, placed.column) == cell_of(m[2]))
    if m := said(r"Does the sign say (\w+)\?"):
        return yes(scene.sign.word == m[1])
    if said("How many objects are there\\?"):
        return str(len(names))
    if m := said(r"How many (.+) are there\?"):
        return str(names.count(thing(m[1])))
    if m := said(r"Where (?:is|are) the (\w+)\?"):
        return only(scene, m[1]).position
    if m := said(r"What color is the mat under the (\w+)\?"):
        return str(only(scene, m[1]).mat)
    if said(r"What color is the background\?"):
        return scene.background
    if m := said(r"What is on the (\w+) mat\?"):
        (name,) = [placed.name for placed in scene.objects if placed.mat == m[1]]
        return name
    if m := said(rf"What is directly {SIDES} the (\w+)\?"):
        reference = only(scene, m[2])
        (name,) = [p.name for p in scene.objects if in_line(p, reference, m[1])]
        if scene.sign:
            cells = [Placed("sign", scene.sign.row, scene.sign.column + i) for i in (0, 1)]
            assert not any(in_line(cell, reference, m[1]) for cell in cells)
        return name
    if m := said(rf"What is {AT}\?"):
        (name,) = [p.name for p in scene.objects if (p.row, p.column) == cell_of(m[1])]
        return name
    if m := said(r"What kind of (\w+) is in the image\?"):
        (name,) = {name for name in names if BY_NAME[name].category == m[1]}
        return name
    if m := said(r'Which thing in the image fits "(.+)"\?'):
        (name,) = {name for name in names if USES.get(name) == m[1]}
        return name
    if m := said(rf"What is the thing {AT} known for\?"):
        (name,) = [p.name for p in scene.objects if (p.row, p.column) == cell_of(m[1])]
        return USES[name]
    if m := said(rf"What kind of thing is {AT}\?"):
        (name,) = [p.name for p in scene.objects if (p.row, p.column) == cell_of(m[1])]
        return BY_NAME[name].category
    if question in ("What word is on the sign?", "What does the sign say?"):
        return scene.sign.word
    raise AssertionError(f"no reading for {question!r}")


def right_options(scene: Scene, question: str, options: Sequence[str]) -> list[str]:
    """The options that are right, worked out from the scene alone."""
    names = [placed.name for placed in scene.objects]
    if question == "Which of these is in the image?":
        return [option for option in options if option in names]
    if question == "Which of these is not in the image?":
        return [option for option in options if option not in names]
    if question == "Which thing in the image can you eat?":
        return [o for o in options if o in names and BY_NAME[o].category in EDIBLE]
    if m := re.fullmatch(rf"What is true of the thing {AT}\?", question):
        (name,) = [p.name for p in scene.objects if (p.row, p.column) == cell_of(m[1])]
        return [option for option in options if option == USES[name]]
    answer = truth(scene, question)
    return [option for option in options if option == answer]

"""The few Chinese words that MMBench-CN's questions and options about a scene need.

In: an English question or option as `choices.py` writes it. Out: the same in simplified Chinese.
Printed signs stay in English, as in the image. Knows no other text; what has no translation here
is refused loudly, so that no half-translated question is written.
"""

import re

from components.data.pocket.things import OBJECTS, SIGN_WORDS

OBJECT_WORDS: dict[str, str] = {
    "apple": "\u82f9\u679c",
    "banana": "\u9999\u8549",
    "tangerine": "\u6a58\u5b50",
    "grapes": "\u8461\u8404",
    "pear": "\u68a8",
    "strawberry": "\u8349\u8393",
    "pineapple": "\u83e0\u841d",
    "watermelon": "\u897f\u74dc",
    "bread": "\u9762\u5305",
    "cheese": "\u5976\u916a",
    "carrot": "\u80e1\u841d\u535c",
    "broccoli": "\u897f\u5170\u82b1",
    "egg": "\u9e21\u86cb",
    "mushroom": "\u8611\u83c7",
    "corn": "\u7389\u7c73",
    "cookie": "\u997c\u5e72",
    "dog": "\u72d7",
    "cat": "\u732b",
    "horse": "\u9a6c",
    "elephant": "\u5927\u8c61",
    "fish": "\u9c7c",
    "frog": "\u9752\u86d9",
    "penguin": "\u4f01\u9e45",
    "butterfly": "\u8774\u8776",
    "car": "\u6c7d\u8f66",
    "bus": "\u516c\u5171\u6c7d\u8f66",
    "bicycle": "\u81ea\u884c\u8f66",
    "airplane": "\u98de\u673a",
    "boat": "\u8239",
    "rocket": "\u706b\u7bad",
    "train": "\u706b\u8f66",
    "tractor": "\u62d6\u62c9\u673a",
    "chair": "\u6905\u5b50",
    "clock": "\u65f6\u949f",
    "book": "\u4e66",
    "umbrella": "\u96e8\u4f1e",
    "key": "\u94a5\u5319",
    "ball": "\u7403",
    "hat": "\u5e3d\u5b50",
    "guitar": "\u5409\u4ed6",
}
COLOUR_WORDS: dict[str, str] = {
    "red": "\u7ea2\u8272",
    "blue": "\u84dd\u8272",
    "green": "\u7eff\u8272",
    "yellow": "\u9ec4\u8272",
    "purple": "\u7d2b\u8272",
    "pink": "\u7c89\u8272",
    "gray": "\u7070\u8272",
    "white": "\u767d\u8272",
}
PLACE_WORDS: dict[str, str] = {
    "top left": "\u5de6\u4e0a\u89d2",
    "top center": "\u9876\u90e8\u4e2d\u95f4",
    "top right": "\u53f3\u4e0a\u89d2",
    "middle left": "\u5de6\u4fa7\u4e2d\u95f4",
    "center": "\u6b63\u4e2d\u95f4",
    "middle right": "\u53f3\u4fa7\u4e2d\u95f4",
    "bottom left": "\u5de6\u4e0b\u89d2",
    "bottom center": "\u5e95\u90e8\u4e2d\u95f4",
    "bottom right": "\u53f3\u4e0b\u89d2",
}
PLAIN_QUESTIONS: dict[str, str] = {
    "Which of these is in the image?": "\u56fe\u4e2d\u6709\u4e0b\u5217\u54ea\u4e00\u9879?",
    "What color is the background?": "\u80cc\u666f\u662f\u4ec0\u4e48\u989c\u8272?",
    "What word is on the sign?": "\u724c\u5b50\u4e0a\u662f\u4ec0\u4e48\u5355\u8bcd?",
    "What does the sign say?": "\u724c\u5b50\u4e0a\u5199\u7740\u4ec0\u4e48?",
    "Which thing in the image can you eat?": (
        "\u56fe\u4e2d\u54ea\u6837\u4e1c\u897f\u53ef\u4ee5\u5403?"
    ),
}
_FORMS: tuple[tuple[str, dict[str, str], str], ...] = (
    (r"What is (?:at|in) the ([a-z ]+)\?", PLACE_WORDS, "\u56fe\u7247{}\u662f\u4ec0\u4e48?"),
    (
        r"What is true of the thing (?:at|in) the ([a-z ]+)\?",
        PLACE_WORDS,
        "\u5173\u4e8e\u56fe\u7247{}\u7684\u4e1c\u897f,\u54ea\u4e00\u9879\u662f\u6b63\u786e\u7684?",
    ),
    (
        r"What color is the mat under the (\w+)\?",
        OBJECT_WORDS,
        "{}\u4e0b\u9762\u7684\u57ab\u5b50\u662f\u4ec0\u4e48\u989c\u8272?",
    ),
    (r"How many (.+) are there\?", OBJECT_WORDS, "\u56fe\u4e2d\u6709\u591a\u5c11\u4e2a{}?"),
)
USE_WORDS: dict[str, str] = {
    "it barks": "\u5b83\u4f1a\u6c6a\u6c6a\u53eb",
    "it catches mice": "\u5b83\u4f1a\u6349\u8001\u9f20",
    "it carries a rider": "\u5b83\u53ef\u4ee5\u9a6e\u4eba",
    "it has a trunk": "\u5b83\u6709\u957f\u9f3b\u5b50",
    "it swims in water": "\u5b83\u5728\u6c34\u91cc\u6e38",
    "it jumps and croaks": "\u5b83\u4f1a\u8df3\u8fd8\u4f1a\u5471\u5471\u53eb",
    "it lives on the ice": "\u5b83\u751f\u6d3b\u5728\u51b0\u4e0a",
    "it drinks from flowers": "\u5b83\u5438\u82b1\u871c",
    "it drives on the road": "\u5b83\u5728\u516c\u8def\u4e0a\u884c\u9a76",
    "it carries many people": "\u5b83\u80fd\u8f7d\u5f88\u591a\u4eba",
    "it has pedals": "\u5b83\u6709\u811a\u8e0f\u677f",
    "it flies with wings": "\u5b83\u7528\u7fc5\u8180\u98de\u884c",
    "it floats on water": "\u5b83\u6d6e\u5728\u6c34\u9762\u4e0a",
    "it flies to space": "\u5b83\u98de\u5411\u592a\u7a7a",
    "it runs on rails": "\u5b83\u5728\u94c1\u8f68\u4e0a\u8dd1",
    "it works on a farm": "\u5b83\u5728\u519c\u573a\u5e72\u6d3b",
    "you sit on it": "\u4eba\u5750\u5728\u4e0a\u9762",
    "it tells the time": "\u5b83\u663e\u793a\u65f6\u95f4",
    "you read it": "\u4eba\u53ef\u4ee5\u9605\u8bfb\u5b83",
    "it keeps off rain": "\u5b83\u80fd\u6321\u96e8",
    "it opens a lock": "\u5b83\u80fd\u5f00\u9501",
    "you kick it": "\u4eba\u53ef\u4ee5\u8e22\u5b83",
    "you wear it": "\u4eba\u53ef\u4ee5\u7a7f\u6234\u5b83",
    "it makes music": "\u5b83\u80fd\u6f14\u594f\u97f3\u4e50",
}
"""What things are known for (`choices.USES`), by the English phrase."""

_PLURALS = {thing.plural: thing.name for thing in OBJECTS}


def option_in_chinese(option: str) -> str:
    """Return an option in Chinese; numbers and printed words as they are."""
    if option.isdigit() or option in SIGN_WORDS:
        return option
    for words in (OBJECT_WORDS, COLOUR_WORDS, USE_WORDS):
        if option in words:
            return words[option]
    raise AssertionError(f"no Chinese for the option {option!r}")


def question_in_chinese(question: str) -> str:
    """Return a question in Chinese."""
    if question in PLAIN_QUESTIONS:
        return PLAIN_QUESTIONS[question]
    for pattern, words, form in _FORMS:
        found = re.fullmatch(pattern, question)
        if found:
            word = found[1]
            return form.format(words[_PLURALS.get(word, word) if words is OBJECT_WORDS else word])
    raise AssertionError(f"no Chinese for the question {question!r}")

"""Row formats that a training file and its benchmark share: VQAv2 rows and GQA entries.

In: a question as asked. Out: plain dicts with the fields of the official files. Writes nothing.
"""

import random
from typing import Any

from components.data.pocket.questions.asked import Asked
from components.data.pocket.questions.phrases import NUMBER_WORDS

VQA_QUESTION_TYPES = (  # out of the official list, longest first
    "what color is the", "how many", "is there a", "is there", "are there", "are the", "is the",
    "what kind of", "where is the", "where are the", "what is the", "what is", "what", "does the",
    "are",
)  # fmt: skip
GQA_TYPES: dict[str, tuple[str, str, str]] = {  # family -> structural, semantic, detailed type
    "presence": ("verify", "obj", "existC"),
    "place": ("verify", "rel", "positionVerify"),
    "relation": ("verify", "rel", "relVerify"),
    "mat check": ("verify", "attr", "verifyAttr"),
    "background check": ("verify", "global", "verifyGlobal"),
    "both": ("logical", "obj", "existAnd"),
    "what at": ("query", "rel", "positionQuery"),
    "mat": ("query", "attr", "directOf"),
    "on mat": ("query", "rel", "relO"),
    "background": ("query", "global", "globalQuery"),
    "beside": ("query", "rel", "relS"),
    "kind": ("query", "cat", "category"),
    "color choice": ("choose", "attr", "chooseAttr"),
}


def vqa_question_type(question: str) -> str:
    """The official question type: the longest known opening, else "none of the above"."""
    lowered = question.lower()
    return next(
        (kind for kind in VQA_QUESTION_TYPES if lowered.startswith(f"{kind} ")), "none of the above"
    )


def vqa_answers(asked: Asked, rng: random.Random) -> list[dict[str, Any]]:
    """Ten human answers; in a fifth of the questions two of them use other words."""
    words = [asked.answer] * 10
    if rng.random() < 0.2:
        words[8:] = [_reworded(asked)] * 2
    return [
        {
            "answer": word,
            "answer_confidence": "yes" if number < 9 else "maybe",
            "answer_id": number + 1,
        }
        for number, word in enumerate(words)
    ]


def vqa_rows(
    image_id: int, number: int, asked: Asked, rng: random.Random
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The question row and the annotation row of VQAv2, their id made as there."""
    key = image_id * 1000 + number
    annotation = {
        "question_type": vqa_question_type(asked.question),
        "multiple_choice_answer": asked.answer,
        "answers": vqa_answers(asked, rng),
        "image_id": image_id,
        "answer_type": asked.answer_type,
        "question_id": key,
    }
    return {"image_id": image_id, "question": asked.question, "question_id": key}, annotation


def gqa_entry(key: str, image_id: str, asked: Asked) -> dict[str, Any]:
    """One GQA question with every field of the official file."""
    structural, semantic, detailed = GQA_TYPES[asked.family]
    subject = asked.subject or "scene"
    program: list[dict[str, Any]] = [
        {"operation": "select", "dependencies": [], "argument": subject},
        {"operation": f"{structural} {semantic}", "dependencies": [0], "argument": asked.family},
    ]
    return {
        "semantic": program,
        "entailed": [],
        "equivalent": [key],
        "question": asked.question,
        "imageId": image_id,
        "isBalanced": True,
        "groups": {"global": semantic, "local": f"{asked.family.replace(' ', '_')}-{subject}"},
        "answer": asked.answer,
        "semanticStr": "->".join(f"{step['operation']}: {step['argument']}" for step in program),
        "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
        "types": {"detailed": detailed, "semantic": semantic, "structural": structural},
        "fullAnswer": asked.sentence,
    }


def _reworded(asked: Asked) -> str:
    if asked.answer.isdigit():
        return NUMBER_WORDS[int(asked.answer)]
    if asked.answer in ("yes", "no"):
        return asked.answer
    return f"the {asked.answer}"

"""The controls: the same questions with another question's image (*other image*, in code `blind`),
or with none (*no image*, in code `text_only`).

In: questions. Out: the same questions with the images exchanged so that no question keeps its
own, or taken away. A model that answers as well as before does not look. Questions that never had
an image are left as they are.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from components.evaluation.benchmark import Question


def blind_questions(questions: Sequence[Question], seed: int) -> list[Question] | None:
    """Return the questions with shuffled images, the same for the same seed; None with fewer than
    two images.

    Images are exchanged along one random cycle through all of them, so none stays, and questions
    that shared an image still share one.
    """
    holders: dict[str, Question] = {}
    for question in questions:
        if question.image_key is not None:
            holders.setdefault(question.image_key, question)
    if len(holders) < 2:
        return None
    cycle = (
        np.random.default_rng(seed).permutation(np.array(sorted(holders), dtype=object)).tolist()
    )
    successor = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    result = []
    for question in questions:
        if question.image_key is None:
            result.append(question)
            continue
        other = holders[successor[question.image_key]]
        result.append(
            dataclasses.replace(
                question, image_path=other.image_path, image_bytes=other.image_bytes
            )
        )
    return result


def text_only_questions(questions: Sequence[Question]) -> list[Question] | None:
    """Return the questions without their images; None when there was no image to take away."""
    if all(question.image_key is None for question in questions):
        return None
    return [dataclasses.replace(q, image_path=None, image_bytes=None) for q in questions]

"""In which order questions are asked: batches of like length, an image's questions together.

In: questions. Out: their places, batch by batch. Questions on one image share most of their
prompt, which a target computes once per batch, so an image is not spread over two batches where it
fits into one. The longest come first: the time left is then never told too short, and memory that
does not suffice is noticed at once.
"""

from collections.abc import Sequence

from components.evaluation.benchmark import Question

_LENGTH_STEP = 16
"""Characters; images whose prompts differ by less count as equally long."""


def batches(questions: Sequence[Question], size: int) -> list[list[int]]:
    """Return the places of the questions in batches of at most `size`, each of one decoding length.

    The same for the same questions, in whatever order they come.
    """
    images: dict[tuple[int, str], list[int]] = {}
    for place, question in enumerate(questions):
        # A question without an image shares little with others: only its length counts.
        name = question.image_key or f"text {_length(question)}"
        images.setdefault((question.max_new_tokens, name), []).append(place)

    def order(key: tuple[int, str]) -> tuple[int, int, str]:
        return -key[0], -max(_length(questions[place]) for place in images[key]), key[1]

    result: list[list[int]] = []
    limit = 0
    for key in sorted(images, key=order):
        places = sorted(images[key], key=lambda place: _identity(questions[place]))
        if key[0] != limit or len(result[-1]) + min(len(places), size) > size:
            result.append([])
            limit = key[0]
        for place in places:
            if len(result[-1]) == size:
                result.append([])
            result[-1].append(place)
    return result


def _length(question: Question) -> int:
    return len(question.prompt) // _LENGTH_STEP


def _identity(question: Question) -> tuple[int, str, str]:
    return -len(question.prompt), question.prompt, question.id

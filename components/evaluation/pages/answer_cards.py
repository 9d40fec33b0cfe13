"""Single answers with their images, drawn by seed, right and wrong ones.

In: the answers of a result, and the raw folder where the images lie. Out: the facts of cards
(`macros.html`). Predictions name images without their folder, so the benchmark's own reader finds
them again; where it cannot, the card says why.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from components.core.errors import LavaflowError
from components.core.pages.page import PageImage, embedded
from components.data.images import decode
from components.evaluation.benchmark import Question, get_benchmark
from components.evaluation.pages.results import AnsweredQuestion
from components.evaluation.scoring.comparison import ChangedQuestion

SIDE_PX = 288
"""Images are made to fit a square of this side."""
_JPEG_QUALITY = 80
_SMALL_PX = 128

Asked = TypeVar("Asked", AnsweredQuestion, ChangedQuestion)


@dataclass(frozen=True)
class Card:
    kind: str
    """`right`, `wrong` or `partly`: the colour."""
    verdict: str
    question_id: str
    prompt: str
    image: PageImage
    lines: list[tuple[str, str | None, str]]
    """Name, text (None where there is none) and a remark on it."""


class QuestionImages:
    """Finds the images of one benchmark's questions below a raw folder."""

    def __init__(self, benchmark: str, raw_root: str | Path | None) -> None:
        self.questions: Mapping[str, Question] = {}
        self.problem = "image not shown: the raw folder has no such question"
        if raw_root is None:
            self.problem = "image not shown: no raw folder was given"
            return
        try:
            found = get_benchmark(benchmark)
            listed = found.read(Path(raw_root) / "eval" / found.folder)
        except LavaflowError as error:
            self.problem = f"image not shown: {error}"
        else:
            self.questions = {question.id: question for question in listed}

    def image(self, question_id: str) -> PageImage:
        """Return the image of a question, or the reason why there is none."""
        question = self.questions.get(question_id)
        if question is None:
            return PageImage(reason=self.problem)
        source = question.image_bytes or question.image_path
        if source is None:
            return PageImage()
        try:
            image = decode(source)
        except LavaflowError as error:
            return PageImage(reason=str(error), bad=True)
        image.thumbnail((SIDE_PX, SIDE_PX))
        if max(image.size) <= _SMALL_PX:  # each pixel counts, and PNG is small enough
            return embedded(image, small=True)
        return embedded(image, small=False, kind="JPEG", quality=_JPEG_QUALITY)


def shuffled(questions: Iterable[Asked], seed: int) -> list[Asked]:
    """Return the questions in an order that is the same for the same seed whatever theirs was."""
    return sorted(
        questions,
        key=lambda each: hashlib.sha256(f"{seed}/{each.question_id}".encode()).hexdigest(),
    )


def draw(answers: Sequence[AnsweredQuestion], number: int, seed: int) -> list[AnsweredQuestion]:
    """Return up to `number` answers, half of them right where there are so many, wrong ones first;
    the same for the same seed whatever the order of the answers.
    """
    order = shuffled(answers, seed)
    wrong = [each for each in order if each.score < 0.5]
    right = [each for each in order if each.score >= 0.5]
    num_wrong = min(len(wrong), max(number // 2, number - len(right)))
    return wrong[:num_wrong] + right[: number - num_wrong]


def answer_card(answer: AnsweredQuestion, images: QuestionImages) -> Card:
    """Return the card of one model's answer."""
    lines: list[tuple[str, str | None, str]] = [("output", answer.raw, "")]
    if answer.raw is not None and answer.answer != answer.raw:
        lines.append(("read as", answer.answer, ""))
    lines.append(("target", answer.target, ""))
    if answer.blind_raw is not None:
        lines.append(("other image", answer.blind_raw, ""))
    image = images.image(answer.question_id) if answer.has_image else PageImage()
    kind, word = _verdict(answer.raw, answer.score)
    return Card(kind, word, answer.question_id, answer.prompt, image, lines)


def changed_card(changed: ChangedQuestion, images: QuestionImages) -> Card:
    """Return the card of a question that models A and B score differently."""
    kind, word = ("right", "gained") if changed.b_score > changed.a_score else ("wrong", "lost")
    image = images.image(changed.question_id)
    return Card(kind, word, changed.question_id, changed.prompt, image, [
        ("A", changed.a_raw, _verdict(changed.a_raw, changed.a_score)[1]),
        ("B", changed.b_raw, _verdict(changed.b_raw, changed.b_score)[1]),
        ("target", changed.target, ""),
    ])  # fmt: skip


def _verdict(raw: str | None, score: float) -> tuple[str, str]:
    """Return the kind of an answer and its judgement in words."""
    if raw is None:
        return "wrong", "no answer"
    if score >= 1.0:
        return "right", "right"
    if score <= 0.0:
        return "wrong", "wrong"
    return "partly", f"{100 * score:.0f}% right"

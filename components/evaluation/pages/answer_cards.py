"""Single answers with their pictures, drawn by seed, right and wrong ones.

In: the answers of a result, and the raw folder where the pictures lie. Out: HTML cards; pictures
are embedded small. Predictions name pictures without their folder, so the benchmark's own reader
finds them again; where it cannot, the card says why.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from components.core.errors import LavaflowError
from components.data.images import decode
from components.evaluation.benchmark import Question, get_benchmark
from components.evaluation.pages.results import Answer

SIDE_PX = 288
"""Pictures are made to fit a square of this side."""
MOST_CHARACTERS = 1500
"""Longer prompts and outputs are cut, so that no single answer fills the page."""
_JPEG_QUALITY = 80
_SMALL_PX = 128


class Pictures:
    """Finds the pictures of one benchmark's questions below a raw folder."""

    def __init__(self, benchmark: str, raw_root: str | Path | None) -> None:
        self.questions: Mapping[str, Question] = {}
        self.problem = ""
        """Why no picture can be shown."""
        if raw_root is None:
            self.problem = "picture not shown: no raw folder was given"
            return
        try:
            found = get_benchmark(benchmark)
            listed = found.read(Path(raw_root) / "eval" / found.folder)
        except LavaflowError as error:
            self.problem = f"picture not shown: {error}"
        else:
            self.questions = {question.id: question for question in listed}

    def html(self, question_id: str) -> str:
        """Return the picture as an element, or the reason why there is none."""
        question = self.questions.get(question_id)
        if question is None:
            reason = self.problem or "picture not shown: the raw folder has no such question"
            return f'<div class="none">{escape(reason)}</div>'
        source = question.image_bytes or question.image_path
        if source is None:
            return '<div class="none">text only</div>'
        try:
            return _element(decode(source), question_id)
        except LavaflowError as error:
            return f'<div class="none bad">{escape(str(error))}</div>'


def draw(answers: Sequence[Answer], number: int, seed: int) -> list[Answer]:
    """Return up to `number` answers, half of them right where there are so many, wrong ones first;
    the same for the same seed whatever the order of the answers.
    """
    order = sorted(
        answers,
        key=lambda each: hashlib.sha256(f"{seed}/{each.question_id}".encode()).hexdigest(),
    )
    wrong = [each for each in order if each.score < 0.5]
    right = [each for each in order if each.score >= 0.5]
    num_wrong = min(len(wrong), max(number // 2, number - len(right)))
    return wrong[:num_wrong] + right[: number - num_wrong]


def card(answer: Answer, pictures: Pictures) -> str:
    """Return one answer as an element."""
    kind, word = verdict(answer.raw, answer.score)
    picture = (
        pictures.html(answer.question_id)
        if answer.has_picture
        else '<div class="none">text only</div>'
    )
    lines = [("output", output(answer.raw))]
    if answer.raw is not None and answer.answer != answer.raw:
        lines.append(("read as", output(answer.answer)))
    lines.append(("target", f'<span class="said">{escape(cut(answer.target))}</span>'))
    if answer.blind_raw is not None:
        lines.append(("blind", output(answer.blind_raw)))
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in lines)
    return (
        f'<article class="card {kind}">{picture}'
        f'<div class="about"><b class="verdict">{word}</b> '
        f"<span>{escape(cut(answer.question_id, 120))}</span></div>"
        f'<div class="prompt">{escape(cut(answer.prompt))}</div><dl>{listed}</dl></article>'
    )


def verdict(raw: str | None, score: float) -> tuple[str, str]:
    """Return the style class of an answer and its judgement in words."""
    if raw is None:
        return "wrong", "no answer"
    if score >= 1.0:
        return "right", "right"
    if score <= 0.0:
        return "wrong", "wrong"
    return "partly", f"{100 * score:.0f}% right"


def output(text: str | None) -> str:
    """Return what a model said as an element; that it said nothing is said."""
    if text is None:
        return '<span class="soft">none</span>'
    if not text.strip():
        return '<span class="soft">(empty)</span>'
    return f'<span class="said">{escape(cut(text))}</span>'


def cut(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return the beginning of a long text and how much is missing."""
    if len(text) <= most:
        return text
    return f"{text[:most]} ... ({len(text) - most:,} characters more)"


def _element(image: Image.Image, name: str) -> str:
    image.thumbnail((SIDE_PX, SIDE_PX))
    small = max(image.size) <= _SMALL_PX
    file = BytesIO()
    if small:  # each pixel counts, and PNG is small enough
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    kind = "png" if small else "jpeg"
    size = ' class="small"' if small else ""
    return (
        f'<div class="picture"><img{size} alt="picture of {escape(cut(name, 120), quote=True)}" '
        f'src="data:image/{kind};base64,{data}"></div>'
    )

"""Asking: questions in, raw answers out, in batches that suit the target, resumable question by
question.

In: the questions of one or several passes (plain, blind), a target, perhaps a folder with earlier
answers. Out: raw answers by question id. It neither parses nor scores.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from components.core.errors import DataError
from components.evaluation.benchmark import Question
from components.evaluation.resume import ResumeLog, fingerprint
from components.evaluation.targets import StreamingTarget, Target

Progress = Callable[[int, int], None]
"""Called with (questions answered, questions in all), the answers of an earlier attempt included.
"""


def ask(
    target: Target,
    passes: Mapping[str, Sequence[Question]],
    batch_size: int,
    resume: ResumeLog | None = None,
    on_progress: Progress | None = None,
) -> dict[str, dict[str, str | None]]:
    """Return {pass: {question id: raw answer}}; None where the target could not put the question.

    All passes go through the target together, so that it never waits between them. With `resume`
    questions answered by an earlier attempt are not asked again.
    """
    known = resume.load() if resume else {}
    answers: dict[str, dict[str, str | None]] = {name: {} for name in passes}
    chunks: list[tuple[str, list[Question]]] = []
    for name, questions in passes.items():
        open_questions = []
        for question in questions:
            raw = known.get(fingerprint(name, question))
            if raw is None:
                open_questions.append(question)
            else:
                answers[name][question.id] = raw
        chunks += [(name, chunk) for chunk in _chunks(open_questions, batch_size)]
    total = sum(len(questions) for questions in passes.values())
    done = sum(len(raws) for raws in answers.values())
    if on_progress:
        on_progress(done, total)
    for place, raws in _stream(target, [chunk for _, chunk in chunks]):
        name, chunk = chunks[place]
        if len(raws) != len(chunk):
            raise DataError(f"the target gave {len(raws)} answers to {len(chunk)} questions")
        if resume:
            resume.add(name, chunk, raws)
        answers[name].update((q.id, raw) for q, raw in zip(chunk, raws, strict=True))
        done += len(chunk)
        if on_progress:
            on_progress(done, total)
    return answers


def _stream(
    target: Target, chunks: Sequence[Sequence[Question]]
) -> Iterator[tuple[int, list[str | None]]]:
    if isinstance(target, StreamingTarget):
        yield from target.stream(chunks)
        return
    for place, chunk in enumerate(chunks):
        yield place, target.answer(chunk)


def _chunks(questions: Sequence[Question], size: int) -> Iterator[list[Question]]:
    """Yield batches of similar length, the longest first; questions on one picture side by side."""

    def order(question: Question) -> tuple[int, int, str, str]:
        # Lengths in steps, so that neighbours may share a picture, which the tower then sees once.
        length = len(question.prompt) // 16
        return -question.max_new_tokens, -length, question.image_key or "", question.id

    ordered = sorted(questions, key=order)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]

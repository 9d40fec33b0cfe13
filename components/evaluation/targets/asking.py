"""Asking: questions in, raw answers out, in batches that suit the target, resumable question by
question.

In: the questions of one or several passes (plain, blind), a target, perhaps a folder with earlier
answers. Out: raw answers by question id. It neither parses nor scores.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from components.core.errors import DataError
from components.evaluation.benchmark import Question
from components.evaluation.resume import ResumeLog, fingerprint
from components.evaluation.targets.checkpoint import StreamingTarget, Target
from components.evaluation.targets.order import batches

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
    unanswered: list[tuple[str, Question]] = []
    for name, questions in passes.items():
        for question in questions:
            raw = known.get(fingerprint(name, question))
            if raw is None:
                unanswered.append((name, question))
            else:
                answers[name][question.id] = raw
    total = sum(len(questions) for questions in passes.values())
    done = sum(len(raws) for raws in answers.values())
    if on_progress:
        on_progress(done, total)
    # Batches mix the passes: an image's questions in the plain and in the blind pass share it.
    chunks = [
        [unanswered[place] for place in places]
        for places in batches([question for _, question in unanswered], batch_size)
    ]
    for place, raws in _stream(target, [[question for _, question in chunk] for chunk in chunks]):
        chunk = chunks[place]
        if len(raws) != len(chunk):
            raise DataError(f"the target gave {len(raws)} answers to {len(chunk)} questions")
        for name in passes:
            asked = [(q, raw) for (of, q), raw in zip(chunk, raws, strict=True) if of == name]
            if resume and asked:
                resume.add(name, [q for q, _ in asked], [raw for _, raw in asked])
            answers[name].update((q.id, raw) for q, raw in asked)
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

"""Answers kept while an evaluation runs, so that a killed one does not ask twice.

In: answers, chunk by chunk. Out: after a restart, the answers to the same questions. Each chunk is
one small file, written atomically, so it works below any store address (local or s3://) and a kill
leaves no half line.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from pathlib import Path

from components.core.errors import StoreError
from components.core.store import Store
from components.evaluation.benchmark import Question

log = logging.getLogger(__name__)


class ResumeLog:
    """The answers so far of one evaluation, below one folder."""

    def __init__(self, folder: str | Path) -> None:
        self._store = Store(str(folder))

    def load(self) -> dict[str, str]:
        """Return raw answers by `fingerprint`; files that cannot be read are told and their
        questions asked again.
        """
        answers: dict[str, str] = {}
        for name in self._store.list():
            if not name.endswith(".jsonl"):
                continue
            try:
                lines = self._store.read_bytes(name).decode().splitlines()
                answers.update((row["fingerprint"], row["raw"]) for row in map(json.loads, lines))
            except (ValueError, KeyError, TypeError, StoreError) as error:
                log.warning(
                    "%s is not used (%s); its questions are asked again",
                    self._store.uri(name),
                    error,
                )
        return answers

    def add(self, control: str, questions: Sequence[Question], raws: Sequence[str | None]) -> None:
        """Keep the answers of a chunk; a question without one is left out, to be asked again."""
        rows = [
            {"fingerprint": fingerprint(control, question), "id": question.id, "raw": raw}
            for question, raw in zip(questions, raws, strict=True)
            if raw is not None
        ]
        if rows:
            text = "".join(json.dumps(row) + "\n" for row in rows)
            self._store.write_bytes(f"{uuid.uuid4().hex}.jsonl", text.encode())


def fingerprint(control: str, question: Question) -> str:
    """Return what an answer depends on besides the model: control, question, prompt, image,
    length.
    """
    image = question.image_key
    if question.image_bytes is None and image is not None:
        image = Path(image).name  # the raw folder may lie elsewhere after a restart
    parts = [
        control,
        question.benchmark,
        question.id,
        question.prompt,
        image,
        question.max_new_tokens,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

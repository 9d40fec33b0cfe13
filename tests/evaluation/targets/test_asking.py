"""Asking: nothing twice, nothing lost, whatever the order."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from components.evaluation.benchmark import Question
from components.evaluation.resume import ResumeLog
from components.evaluation.targets.asking import ask


def questions(count: int) -> list[Question]:
    return [
        Question(str(n), "gqa", "?" * (1 + 7 * (n % 5)), "x", image_path=f"/a/{n % 3}.jpg")
        for n in range(count)
    ]


class Killed(Exception):
    pass


def test_answers_are_joined_by_id_and_progress_is_told(fake_target: Any) -> None:
    target = fake_target(lambda question: f"answer {question.id}")
    steps: list[tuple[int, int]] = []
    passes = {"plain": questions(10), "blind": questions(10)}
    raws = ask(target, passes, 4, on_progress=lambda done, total: steps.append((done, total)))
    assert raws["plain"] == raws["blind"] == {str(n): f"answer {n}" for n in range(10)}
    # 8, 6 and 6 questions on three images, each beginning a batch of its own.
    assert [done for done, _ in steps] == [0, 4, 8, 12, 14, 18, 20]
    assert {total for _, total in steps} == {20}


def test_both_passes_of_an_image_are_asked_in_one_batch(fake_target: Any) -> None:
    class Batches:
        def __init__(self) -> None:
            self.sizes: list[set[str]] = []

        def answer(self, asked: list[Question]) -> list[str | None]:
            self.sizes.append({str(q.image_path) for q in asked})
            return [q.image_path for q in asked]

    target = Batches()
    shuffled = [
        dataclasses.replace(q, image_path=f"/a/{(int(q.id) + 1) % 3}.jpg") for q in questions(9)
    ]
    raws = ask(target, {"plain": questions(9), "blind": shuffled}, 6)
    assert len(target.sizes) == 3
    assert all(len(images) == 1 for images in target.sizes)
    assert raws["plain"] == {str(n): f"/a/{n % 3}.jpg" for n in range(9)}
    assert raws["blind"] == {str(n): f"/a/{(n + 1) % 3}.jpg" for n in range(9)}


def test_a_killed_run_asks_no_question_twice(fake_target: Any, tmp_path: Path) -> None:
    passes = {"plain": questions(20), "blind": questions(20)}
    first = fake_target(lambda question: f"answer {question.id}")

    def die_at_half(done: int, total: int) -> None:
        if done >= total // 2:
            raise Killed

    with pytest.raises(Killed):
        ask(first, passes, 4, ResumeLog(tmp_path), die_at_half)
    second = fake_target(lambda question: f"answer {question.id}")
    raws = ask(second, passes, 4, ResumeLog(tmp_path))
    assert len(first.asked) + len(second.asked) == 40
    assert 20 <= len(first.asked) < 24
    assert raws["plain"] == raws["blind"] == {str(n): f"answer {n}" for n in range(20)}
    third = fake_target(lambda question: "never")
    assert ask(third, passes, 4, ResumeLog(tmp_path)) == raws
    assert third.asked == []


def test_an_answer_is_not_reused_for_another_question(fake_target: Any, tmp_path: Path) -> None:
    ask(fake_target(lambda q: "old"), {"plain": questions(4)}, 4, ResumeLog(tmp_path))
    changed = [Question(q.id, "gqa", q.prompt + "!", "x", q.image_path) for q in questions(4)]
    raws = ask(fake_target(lambda q: "new"), {"plain": changed}, 4, ResumeLog(tmp_path))
    assert set(raws["plain"].values()) == {"new"}


def test_unanswered_questions_and_damaged_files_are_asked_again(
    fake_target: Any, tmp_path: Path
) -> None:
    broken = fake_target(lambda q: None if q.id == "1" else "fine")
    assert ask(broken, {"plain": questions(4)}, 2, ResumeLog(tmp_path))["plain"]["1"] is None
    (tmp_path / "damaged.jsonl").write_text('{"fingerprint": "x"')
    mended = fake_target(lambda q: "mended")
    raws = ask(mended, {"plain": questions(4)}, 2, ResumeLog(tmp_path))["plain"]
    assert raws == {"0": "fine", "1": "mended", "2": "fine", "3": "fine"}
    assert [q.id for q in mended.asked] == ["1"]

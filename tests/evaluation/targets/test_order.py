"""Batches: every question once, an image in one batch, the longest first."""

import random

from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.benchmark import Question
from components.evaluation.targets.order import batches

QUESTIONS = st.lists(
    st.builds(
        lambda length, image, limit: ("?" * length, image, limit),
        st.integers(0, 80),
        st.one_of(st.none(), st.integers(0, 6)),
        st.sampled_from([16, 128]),
    ),
    max_size=60,
)


def made(parts: list[tuple[str, int | None, int]]) -> list[Question]:
    return [
        Question(
            str(n), "gqa", text, "x", None if at is None else f"/a/{at}.jpg", max_new_tokens=limit
        )
        for n, (text, at, limit) in enumerate(parts)
    ]


@given(QUESTIONS, st.integers(1, 9))
def test_every_question_is_in_one_batch_of_one_decoding_length(
    parts: list[tuple[str, int | None, int]], size: int
) -> None:
    questions = made(parts)
    found = batches(questions, size)
    assert sorted(place for batch in found for place in batch) == list(range(len(questions)))
    assert all(0 < len(batch) <= size for batch in found)
    assert all(len({questions[p].max_new_tokens for p in batch}) == 1 for batch in found)


@given(QUESTIONS, st.integers(1, 9))
def test_an_image_is_split_only_where_it_does_not_fit(
    parts: list[tuple[str, int | None, int]], size: int
) -> None:
    questions = made(parts)
    where: dict[tuple[str, int], list[int]] = {}
    for number, batch in enumerate(batches(questions, size)):
        for place in batch:
            question = questions[place]
            if question.image_path is not None:
                where.setdefault((question.image_path, question.max_new_tokens), []).append(number)
    for numbers in where.values():
        assert len(set(numbers)) == -(-len(numbers) // size)


def test_the_order_of_questions_does_not_matter() -> None:
    questions = made([("?" * (n % 40), n % 7 if n % 5 else None, 128) for n in range(50)])
    mixed = list(questions)
    random.Random(1).shuffle(mixed)
    names = [[questions[place].id for place in batch] for batch in batches(questions, 8)]
    assert names == [[mixed[place].id for place in batch] for batch in batches(mixed, 8)]


def test_the_longest_come_first() -> None:
    questions = made([("?" * (n // 2 * 16), n // 2, 16 if n < 20 else 128) for n in range(40)])
    order = [questions[place] for batch in batches(questions, 4) for place in batch]
    lengths = [(question.max_new_tokens, len(question.prompt)) for question in order]
    assert lengths == sorted(lengths, reverse=True)

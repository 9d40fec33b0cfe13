"""The controls change or take the images and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.benchmark import Question
from components.evaluation.controls import blind_questions, text_only_questions


def asked(number: int, image: str | None) -> Question:
    return Question(str(number), "gqa", f"question {number}", "yes", image_path=image)


@given(st.lists(st.one_of(st.none(), st.integers(0, 8)), max_size=30), st.integers(0, 5))
def test_no_question_keeps_its_image(images: list[int | None], seed: int) -> None:
    questions = [
        asked(number, None if image is None else f"{image}.jpg")
        for number, image in enumerate(images)
    ]
    shuffled = blind_questions(questions, seed)
    distinct = {question.image_key for question in questions if question.image_key}
    if len(distinct) < 2:
        assert shuffled is None
        return
    assert shuffled is not None
    moved: dict[str, str | None] = {}
    for before, after in zip(questions, shuffled, strict=True):
        assert (before.id, before.prompt, before.target) == (after.id, after.prompt, after.target)
        if before.image_key is None:
            assert after == before
            continue
        assert after.image_key != before.image_key
        assert moved.setdefault(before.image_key, after.image_key) == after.image_key
    assert set(moved.values()) == distinct  # every image is still shown


def test_the_same_seed_shuffles_alike() -> None:
    questions = [asked(number, f"{number}.jpg") for number in range(20)]
    assert blind_questions(questions, 1) == blind_questions(questions, 1)
    assert blind_questions(questions, 1) != blind_questions(questions, 2)


def test_images_inside_the_file_are_told_apart_by_content() -> None:
    questions = [
        Question(str(number), "mmbench", "?", "A", image_bytes=bytes([number // 4]))
        for number in range(12)
    ]
    shuffled = blind_questions(questions, 0)
    assert shuffled is not None
    assert all(a.image_bytes != b.image_bytes for a, b in zip(questions, shuffled, strict=True))


def test_text_only_questions_keep_all_but_the_image() -> None:
    questions = [
        asked(0, "a.jpg"),
        Question("1", "mmbench", "?", "A", image_bytes=b"image", group="g", meta={"x": 1}),
        asked(2, None),
    ]
    bare = text_only_questions(questions)
    assert bare == [
        asked(0, None),
        Question("1", "mmbench", "?", "A", group="g", meta={"x": 1}),
        asked(2, None),
    ]
    assert text_only_questions([asked(0, None)]) is None

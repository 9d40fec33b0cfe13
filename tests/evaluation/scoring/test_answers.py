"""The normalisers, case by case as the official tools leave them (seen by running those)."""

import pytest

from components.evaluation.scoring.answers import (
    CONTRACTIONS,
    VIZWIZ_CONTRACTIONS,
    leave_one_out,
    normalise_evalai,
    normalise_vizwiz,
    normalise_vqa,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", "yes"),
        ("  A dog. ", "dog"),
        ("the an a", ""),
        ("None", "0"),
        ("two", "2"),
        ("Ten dogs", "10 dogs"),
        ("eleven", "eleven"),
        ("isnt", "isn't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("couldntve", "couldntve"),
        ("Im", "im"),  # the table's key is capitalised, the word no longer is
        ("somebody'd", "somebodyd"),  # one entry of the official table runs backwards
        ("dog's", "dog 's"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("U.S.A.", "usa"),
        ("a.b", "ab"),
        ("red-white", "red white"),  # no space beside the dash: it becomes one
        ("red - white", "red white"),  # a space beside it: it goes
        ("red-white -", "redwhite"),  # beside a space anywhere: it goes everywhere
        ("what?", "what"),
        ("yes, it is", "yes it is"),
        ("top/left", "top left"),
        ("line\nbreak\ttab", "line break tab"),
        ("." * 40, "." * 8),  # only the first 32 periods go
        ("$5.00", "$5.00"),
        ("", ""),
    ],
)
def test_evalai_normaliser(text: str, expected: str) -> None:
    assert normalise_evalai(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog's", "dog's"),  # not split off, unlike above
        ("1,000", "1000"),
        ("1,000 (about)", "1000 about"),
        ("yes,no", "yes no"),
        ("yes,no 1,0", "yesno 10"),  # a comma between digits deletes every mark
        ("what?", "what"),
        ("The Two", "2"),
    ],
)
def test_vqa_tool_normaliser(text: str, expected: str) -> None:
    assert normalise_vqa(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("didnt", "didn`t"),  # grave accents in the API's table
        ("didn't", "didn't"),
        ("cant", "can't"),
        ("weve", "we've"),
        ("couldn'tve", "couldn`t`ve"),
        ("hadn'tve", "hadn`t`ve"),
        ("couldnt've", "couldnt've"),  # that key has a grave accent, which is gone by then
        ("didn`t", "didn t"),
        ("dog's", "dog's"),
        ("The Two", "2"),
        ("none", "0"),
        ("red-white", "red white"),
    ],
)
def test_vizwiz_normaliser(text: str, expected: str) -> None:
    assert normalise_vizwiz(text) == expected


def test_vizwiz_restores_seventy_five_words() -> None:
    assert len(VIZWIZ_CONTRACTIONS) == 75
    assert sum("`" not in form for form in VIZWIZ_CONTRACTIONS.values()) == 8


def test_contractions_have_the_official_size() -> None:
    # 119 keys of the official table that are lower case and change the word.
    assert all(key == key.lower() for key in CONTRACTIONS)
    assert CONTRACTIONS["y'alld've"] == CONTRACTIONS["yall'd've"] == "y'all'd've"
    assert CONTRACTIONS["'ow'sat"] == "'ow's'at"
    assert CONTRACTIONS["twas"] == "'twas"


@pytest.mark.parametrize(
    ("num_matches", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_leave_one_out_gives_the_five_values(num_matches: int, expected: float) -> None:
    humans = ["yes"] * num_matches + [f"other {number}" for number in range(10 - num_matches)]
    assert leave_one_out("yes", humans) == pytest.approx(expected)

"""Configs: unknown keys named with their neighbours, overrides, differences, one canonical form."""

from typing import Any

import pytest

from components.core.config import Config, changed_fields, override, parse
from components.core.errors import ConfigError


class Stage(Config):
    learning_rate: float = 2e-3
    parts: tuple[str, ...] = ("connector",)
    options: dict[str, int] = {}


class Recipe(Config):
    name: str
    pretrain: Stage = Stage()
    """The first stage."""
    limit: int | None = None


RECIPE = Recipe(name="tiny")


def test_overrides_reach_nested_fields_and_keep_the_rest() -> None:
    changed = override(
        RECIPE, ["pretrain.learning_rate=1e-5", 'pretrain.parts=["a","b"]', "limit=3", "name=x=y"]
    )
    assert (changed.pretrain.learning_rate, changed.pretrain.parts) == (1e-5, ("a", "b"))
    assert (changed.limit, changed.name) == (3, "x=y")
    assert RECIPE.limit is None
    assert override(RECIPE, []) == RECIPE


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("pretrain.learning_rat=1", "did you mean learning_rate"),
        ("pretain.learning_rate=1", "did you mean pretrain"),
        ("zzz=1", "known keys: name, pretrain, limit"),
        ("limit", "expected KEY=VALUE"),
        ("limit=many", "limit = 'many'"),
        ("pretrain.options.x=1", "has no key 'x'"),
        ("name.deeper=1", "has no key 'deeper'"),
    ],
)
def test_a_wrong_override_says_what_is_right(assignment: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        override(RECIPE, [assignment])


def test_unknown_keys_of_a_file_are_refused_with_their_place() -> None:
    with pytest.raises(ConfigError, match=r"saved.json.pretrain has no key 'lr'"):
        parse(Recipe, {"name": "x", "pretrain": {"lr": 1}}, where="saved.json")
    with pytest.raises(ConfigError, match="Recipe has no key 'nam'; did you mean name"):
        RECIPE.with_(nam="x")


def test_the_canonical_form_writes_defaults_out_and_can_be_read_again() -> None:
    form: dict[str, Any] = RECIPE.canonical()
    assert form["pretrain"] == {"learning_rate": 2e-3, "parts": ["connector"], "options": {}}
    assert parse(Recipe, form) == RECIPE


def test_changed_fields_are_dotted() -> None:
    changed = RECIPE.with_(pretrain=RECIPE.pretrain.with_(learning_rate=1.0), limit=1)
    assert changed_fields(RECIPE.canonical(), changed.canonical()) == [
        ("limit", None, 1),
        ("pretrain.learning_rate", 2e-3, 1.0),
    ]


def test_configs_are_frozen_and_documented() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RECIPE.name = "other"  # type: ignore[misc]
    assert Recipe.model_fields["pretrain"].description == "The first stage."

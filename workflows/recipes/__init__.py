"""The recipes: Python functions that return a complete typed configuration, every number with its
source.

In: a name. Out: the recipe's configuration with the user's overrides. To add one, write a function
in a file of this folder and name it in RECIPES.
"""

import difflib
import importlib
from collections.abc import Callable, Sequence

from components.core.config import override
from components.core.errors import ConfigError
from workflows.config import PipelineConfig

RECIPES = {
    "tiny": "workflows.recipes.tiny:tiny",
    "llava15_7b": "workflows.recipes.llava15:llava15_7b",
    "llava15_13b": "workflows.recipes.llava15:llava15_13b",
    "llava15_7b_lora": "workflows.recipes.llava15:llava15_7b_lora",
    "llava15_13b_lora": "workflows.recipes.llava15:llava15_13b_lora",
    "llava15_7b_h200x1": "workflows.recipes.llava15:llava15_7b_h200x1",
}


def get_recipe(name: str, assignments: Sequence[str] = ()) -> PipelineConfig:
    """Return the recipe with `a.b=value` overrides applied. Raises ConfigError with the nearest
    names.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=2)
        advice = f"did you mean {' or '.join(near)}?" if near else f"recipes: {', '.join(RECIPES)}"
        raise ConfigError(f"no recipe is called {name!r}; {advice}")
    module, _, function = RECIPES[name].partition(":")
    make: Callable[[], PipelineConfig] = getattr(importlib.import_module(module), function)
    return override(make(), assignments)

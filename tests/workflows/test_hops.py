"""What can never be trained is refused before the data are prepared for hours."""

import re
from typing import Any

import pytest

from components.core.errors import ConfigError
from components.data.config import PrepareConfig
from components.data.pocket.config import RawData
from workflows.base import BaseParts
from workflows.hops import prepare_data
from workflows.recipes.tiny import BASE, tiny


@pytest.mark.parametrize(
    ("changes", "in_base", "message"),
    [
        ({}, {"feature_layer": -9}, "feature_layer=-9: the tower has 4 layers"),
        ({"max_tokens": 4096}, {}, "max_tokens=4096, but .* has 2048 positions"),
        ({"image": {"size_px": 336, "aspect": "pad"}}, {}, "336 px, but the tower .* takes 84 px"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_before_the_first_row(
    changes: dict[str, Any], in_base: dict[str, Any], message: str
) -> None:
    base = BaseParts(
        uri="",
        digest="",
        vision_tower=str(BASE / "vision_tower"),
        language_model=str(BASE / "language_model"),
        **{"connector": "mlp2x_gelu", "feature_layer": -2, "select": "default", **in_base},
    )
    config = PrepareConfig.model_validate({**tiny().finetune_data.model_dump(), **changes})
    inputs = {"base": base, "raw": RawData(uri="/nowhere", digest="", num_rows={}, num_images=0)}
    with pytest.raises(ConfigError) as refused:
        prepare_data(config, inputs, context=None)  # type: ignore[arg-type] # not reached
    assert re.search(message, str(refused.value))

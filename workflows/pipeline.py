"""The chain: raw annotations to a served, measured, registered model. This page is the table of
contents.

In: a recipe and an empty `Chain`. Out: the chain with its steps; `Chain.plan` and `Chain.run` do
the rest. Each line is one hop; what a hop does stands in `workflows/hops.py`.
"""

from dataclasses import dataclass

from components.data.pocket.config import RawData
from workflows import hops
from workflows.base import BaseParts
from workflows.config import PipelineConfig
from workflows.steps import Chain, Handle


@dataclass(frozen=True)
class Pipeline:
    """Handles of what a run makes, for showing it."""

    scores: list[Handle]
    model: Handle
    version: Handle
    service: Handle


def build(
    chain: Chain,
    recipe: PipelineConfig,
    base: BaseParts,
    raw_data: RawData | None,
    tracking_uri: str,
) -> Pipeline:
    """Add every hop of the recipe to the chain and return what it will have made."""
    raw = hops.raw(chain, recipe, raw_data)
    captions = hops.prepare(chain, recipe.pretrain_data, raw, base)
    mixture = hops.prepare(chain, recipe.finetune_data, raw, base)
    connector = hops.train(chain, recipe.pretrain, captions, base)
    model = hops.train(chain, recipe.finetune, mixture, connector)
    scores = [
        hops.evaluate(chain, recipe.evaluation, name, model, raw)
        for name in recipe.evaluation.benchmarks
    ]
    version = hops.register(chain, recipe, base, model, scores, raw, tracking_uri)
    service = hops.deploy(chain, recipe, version, raw)
    return Pipeline(scores, model, version, service)

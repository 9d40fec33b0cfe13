"""The step layer: each step of the pipeline runs at most once per key, wherever and however often
asked.

In: step functions, configs, inputs, a store. Out: published artifacts, and reasons for everything
that runs or does not. Imports neither Ray nor torch nor MLflow; Ray comes with the first step that
must run.
"""

from workflows.steps.chain import Chain
from workflows.steps.context import StepContext
from workflows.steps.graph import Handle
from workflows.steps.observer import Observer
from workflows.steps.planning import PlannedStep
from workflows.steps.tracker import NullTracker, Tracker

__all__ = [
    "Chain",
    "Handle",
    "NullTracker",
    "Observer",
    "PlannedStep",
    "StepContext",
    "Tracker",
]

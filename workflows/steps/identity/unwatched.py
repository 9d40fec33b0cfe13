"""Modules that a step reaches although they cannot change what it makes.

In: nothing. Out: one list, each entry with its reason. A module that is not listed is part of the
key of every step that reaches it. What is reached through a listed module alone is not watched
either. A test fails for an entry that is gone or that no step reaches.
"""

# Dotted name of a module, or of a package with all below it -> why it cannot change a result.
UNWATCHED = {
    "components.core.errors": "the kinds of errors: a step that raises one has no result",
    "components.core.logs": "how lines of the log and their numbers look",
    "components.core.scratch": "where temporary folders lie",
    "components.core.store": "carries files; digests say that they arrive as they were written",
    "components.core.store_faults": "the words for what a store refuses",
    "components.core.store_local": "carries files, on disk",
    "components.core.store_remote": "carries files, to and from object stores",
    "components.evaluation.pages": "shows results that are there already; no step reads a page",
    "components.evaluation.score_table": "shows scores; its numbers go to the tracker alone",
    "components.model.sizes": "sizes for estimates of memory and for the MFU of the curves",
    "components.registry.card": "words about a version that is registered in any case",
    "components.registry.connection": "how MLflow is reached and waited for",
    "components.training.curves": "numbers for the tracker; the run's facts are made elsewhere",
    "components.training.planning": "whether a stage has room: refuses, waits, or splits a batch "
    "into smaller micro-batches, which are no identity",
    "components.training.workers.imports": "how fast a worker starts",
    "components.training.workers.watchdog": "ends a worker that hangs",
    "workflows.home": "addresses and secrets",
    "workflows.steps": "when a step runs and where its result is kept; KEY_SCHEMA stands for it",
}


def is_unwatched(module: str) -> bool:
    """Return whether a module, or a package around it, is listed."""
    parts = module.split(".")
    return any(".".join(parts[:count]) in UNWATCHED for count in range(1, len(parts) + 1))

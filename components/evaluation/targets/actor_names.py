"""How the evaluators of a model are called, and how they are sent away by name.

In: the digest of a model. Out: the start of its evaluators' names in Ray. Knows no model and no
question, so whoever only sends evaluators away does not depend on how they answer.
"""

import ray
from ray.exceptions import RayError

NAMESPACE = "lavaflow-evaluation"


def actor_prefix(digest: str) -> str:
    """Return how the names of a model's evaluators begin."""
    return f"evaluator-{digest.removeprefix('sha256:')[:16]}-"


def release(digest: str | None = None) -> int:
    """Send the evaluators of a model (None: of all models) away once they are idle; returns how
    many there were.
    """
    from ray.util import list_named_actors

    prefix = "evaluator-" if digest is None else actor_prefix(digest)
    found = 0
    for entry in list_named_actors(all_namespaces=True):
        if entry["namespace"] != NAMESPACE or not entry["name"].startswith(prefix):
            continue
        try:
            ray.get_actor(entry["name"], namespace=NAMESPACE).__ray_terminate__.remote()
            found += 1
        except (ValueError, RayError):
            continue  # it left between the listing and now
    return found

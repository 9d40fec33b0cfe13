"""Notices that a node of the run is about to be taken away, as a cloud takes back a cheap one.

In: what Ray Train's watcher of draining nodes tells each worker. Out: a word, the same on every
rank, when there is news. What to do about it (a checkpoint) is the caller's; when the node is gone,
Ray Train starts the workers anew, and such an end does not use up `max_failures`.
"""

import logging
import time

log = logging.getLogger(__name__)

# Ray Train looks for draining nodes as often. Asking it is a meeting of all ranks, so not each
# step.
_POLL_S = 5.0


class PreemptionNotices:
    """Tells each notice once."""

    def __init__(self, poll_s: float = _POLL_S) -> None:
        self._poll_s = poll_s
        self._asked_at = time.monotonic()
        self._known: tuple[str, ...] = ()

    def is_due(self) -> bool:
        """Return whether it is time to ask; of this rank's clock alone."""
        return time.monotonic() - self._asked_at >= self._poll_s

    def is_news(self) -> bool:
        """Return whether nodes were named that were not before; every rank must ask together."""
        import ray.train

        self._asked_at = time.monotonic()
        info = ray.train.get_preemption_info()
        nodes = tuple(sorted(info.preempted_node_to_ranks)) if info is not None else ()
        news = sorted(set(nodes) - set(self._known))
        self._known = nodes
        if news and info is not None:
            ranks = sorted(rank for node in news for rank in info.preempted_node_to_ranks[node])
            left_s = max(0.0, info.deadline_ms / 1000 - time.time()) if info.deadline_ms else None
            log.warning(
                "node %s of rank %s is about to be taken away%s: a checkpoint is written now",
                ", ".join(node[:8] for node in news),
                ", ".join(map(str, ranks)),
                f" in {left_s:.0f} s" if left_s is not None else "",
            )
        return bool(news)

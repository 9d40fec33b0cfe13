"""Whether and when a failed attempt is tried again.

In: a failure and how many tries were used. Out: a delay, or the decision to give up. A mistake of
the user's is not tried again; a crash or a lost connection uses up one retry; a preemption uses
none.
"""

import random
from dataclasses import dataclass

from workflows.steps.running.task import Failed

# Also preemptions end some day: a node that dies this often is no accident.
MAX_PREEMPTIONS = 100


@dataclass(frozen=True)
class Backoff:
    """Exponential delays with jitter, so that several drivers do not knock in step."""

    first_s: float = 2.0
    longest_s: float = 120.0

    def delay_s(self, tries: int) -> float:
        """Return the wait before the next try, after `tries` failed ones."""
        whole = min(self.longest_s, self.first_s * 2.0 ** max(0, tries - 1))
        return whole * random.uniform(0.5, 1.0)


@dataclass
class RetryBudget:
    """What one step of one run may still try."""

    retries: int
    used: int = 0
    preemptions: int = 0

    def accepts(self, failure: Failed) -> bool:
        """Count a failure; returns whether the step may be tried again."""
        if failure.preempted:
            self.preemptions += 1
            return self.preemptions <= MAX_PREEMPTIONS
        if not failure.retryable or self.used >= self.retries:
            return False
        self.used += 1
        return True

    @property
    def failed_tries(self) -> int:
        """Failed attempts so far."""
        return self.used + self.preemptions

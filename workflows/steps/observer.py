"""What a chain tells whoever watches it (the terminal, a test, a dashboard).

In: nothing. Out: an interface whose methods do nothing, to be overridden where wanted. All calls
come from the driver's main thread, in the order in which things happen.
"""

from workflows.steps.state.layout import StepFolder


class Observer:
    """Events of a chain, none of which needs an answer."""

    def on_chain_started(self, run_name: str, steps: list[str]) -> None:
        """The chain begins; `steps` in the order in which they were added."""

    def on_hit(self, folder: StepFolder, reason: str, saved_s: float) -> None:
        """A step's result was found; making it had taken `saved_s` seconds."""

    def on_waiting(self, folder: StepFolder, holder: str) -> None:
        """Another driver runs this step; this one waits for its result."""

    def on_started(self, folder: StepFolder, reason: str, attempt_number: int) -> None:
        """An attempt of a step was handed to Ray."""

    def on_metrics(self, step: str, metrics: dict[str, float], at: int | None) -> None:
        """A running step reported numbers."""

    def on_progress(self, step: str, done: int, total: int) -> None:
        """A running step has done so many of its units of work (optimizer steps, questions)."""

    def on_note(self, step: str, text: str) -> None:
        """A running step has something to say that should not wait for its end."""

    def on_finished(self, folder: StepFolder, seconds: float, uri: str) -> None:
        """A step succeeded and its result is published at `uri`."""

    def on_retry(self, folder: StepFolder, error: str, delay_s: float, why: str) -> None:
        """An attempt failed; the next begins after `delay_s` seconds."""

    def on_failed(self, folder: StepFolder, error: str, seconds: float) -> None:
        """A step failed for good."""

    def on_interrupted(self, step: str) -> None:
        """A running step was stopped because the driver stops."""

    def on_chain_finished(self, status: str, seconds: float) -> None:
        """The chain ended as `ok`, `failed` or `interrupted`."""

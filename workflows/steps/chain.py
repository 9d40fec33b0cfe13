"""The chain: named steps, their inputs, and one call that brings all of them up to date.

In: step functions with config and inputs. Out: their artifacts, each made at most once per key.

    chain = Chain(store, "tiny", ensure_cluster=connect)
    prepared = chain.add("prepare", prepare_step, config=recipe.data, returns=PreparedData)
    model = chain.add("pretrain", train_step, config=recipe.pretrain, inputs={"data": prepared},
                      returns=ModelCheckpoint, retries=2)
    artifacts = chain.run()
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.core.artifact import Artifact
from components.core.config import Config, parse
from components.core.errors import ConfigError
from components.core.store import Store
from workflows.steps.graph import Handle, Input, Node, Selection, find_node, select
from workflows.steps.identity.payloads import is_code
from workflows.steps.observer import Observer
from workflows.steps.planning import PlannedStep, plan_steps
from workflows.steps.running.executor import Executor, RayExecutor
from workflows.steps.running.retries import Backoff
from workflows.steps.running.scheduler import ChainRun
from workflows.steps.running.signals import terminate_as_interrupt
from workflows.steps.running.step_run import RunParts
from workflows.steps.state.adoption import adopt_folder
from workflows.steps.state.layout import check_step_name
from workflows.steps.state.leases import TTL_S
from workflows.steps.state.owner import Owner
from workflows.steps.state.pins import add_pin, remove_pin
from workflows.steps.tracker import GuardedTracker, NullTracker, Status, Tracker


class Chain:
    """Steps that depend on each other, and the store that holds what they made."""

    def __init__(
        self,
        store: Store,
        run_name: str,
        *,
        tracker: Tracker | None = None,
        observer: Observer | None = None,
        ensure_cluster: Callable[[], None] = lambda: None,
        executor: Executor | None = None,
        resume_command: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        provenance: Mapping[str, str] | None = None,
        lease_ttl_s: float = TTL_S,
        backoff: Backoff | None = None,
    ) -> None:
        """Describe the run.

        `ensure_cluster` connects to Ray or starts it; called once, when the first step must run.
        `resume_command` is the last line of StepFailed. `params` and `tags` go to the tracker's
        parent run; `provenance` (code version, command) goes into each record.
        """
        self.store = store
        self.run_name = run_name
        self._tracker = GuardedTracker(tracker or NullTracker())
        self._observer = observer or Observer()
        self._executor = executor or RayExecutor(ensure_cluster)
        self._resume_command = resume_command
        self._params, self._tags = dict(params or {}), dict(tags or {})
        self._provenance = dict(provenance or {})
        self._lease_ttl_s = lease_ttl_s
        self._backoff = backoff or Backoff()
        self._nodes: dict[str, Node] = {}

    @property
    def steps(self) -> list[str]:
        """Names of the steps, in the order in which they were added."""
        return list(self._nodes)

    def add(
        self,
        name: str,
        function: Callable[..., Artifact],
        *,
        config: Config | None = None,
        inputs: Mapping[str, Input] | None = None,
        returns: type[Artifact] = Artifact,
        num_cpus: float = 1,
        retries: int = 0,
        stop_grace_s: float = 0.0,
    ) -> Handle:
        """Add a step and return the handle that stands for its artifact.

        `num_cpus`: what the step's Ray task reserves. 0 for a step that only starts workers or
        actors: it would take from them the processors that it waits for.
        `retries`: how often a crash or a lost connection is tried again (preemptions do not count).
        `stop_grace_s`: for functions that look for `context.stop_uri()` while they run; on Ctrl-C
        or SIGTERM they have so long to save what they have before they are cancelled.
        """
        check_step_name(name)
        if name in self._nodes:
            raise ConfigError(f"step {name!r} was added twice; give each step its own name")
        node = Node(
            name=name,
            function=function,
            config=config,
            inputs=dict(inputs or {}),
            returns=returns,
            num_cpus=num_cpus,
            retries=retries,
            stop_grace_s=stop_grace_s,
        )
        for parent in node.parents:
            find_node(self._nodes, parent, f"input of {name}")
        self._nodes[name] = node
        return Handle(name, returns)

    def plan(
        self,
        *,
        only: Sequence[str] = (),
        from_: str | None = None,
        force: Sequence[str] = (),
    ) -> list[PlannedStep]:
        """Return what `run` with the same options would do with each step, and why; runs
        nothing.
        """
        return plan_steps(self.store, self._nodes, select(self._nodes, only, from_, force))

    def run(
        self,
        *,
        only: Sequence[str] = (),
        from_: str | None = None,
        force: Sequence[str] = (),
    ) -> dict[str, Artifact]:
        """Bring the steps up to date and return their artifacts by name.

        Raises StepFailed (its last line resumes), LeaseLost, or KeyboardInterrupt (Ctrl-C or
        SIGTERM), always after tasks were cancelled and leases given back.
        """
        selection = select(self._nodes, only, from_, force)
        run_id = self._tracker.start_run(self.run_name, self._params, self._tags)
        self._observer.on_chain_started(self.run_name, self.steps)
        started = time.monotonic()
        status: Status = "failed"
        try:
            with terminate_as_interrupt():
                artifacts = self._chain_run(selection, run_id).run()
            status = "ok"
            return artifacts
        except (KeyboardInterrupt, SystemExit):
            status = "interrupted"
            raise
        finally:
            self._tracker.finish_run(status)
            self._observer.on_chain_finished(status, time.monotonic() - started)

    def pin(self, step: str, key: str | None = None) -> str:
        """Keep a step's result although its code changed; returns the pinned key.

        `key` (its first digits do) names the result; without it the present one, or the nearest
        earlier one that differs in code alone, is taken. Config or inputs that differ are not
        bridged.
        """
        node = find_node(self._nodes, step)
        chosen = self._full_key(step, key) if key else self._pinnable_key(node)
        add_pin(self.store, step, chosen)
        return chosen

    def unpin(self, step: str, key: str | None = None) -> list[str]:
        """Remove a step's pins (or one); returns the keys that were pinned."""
        node = find_node(self._nodes, step)
        return remove_pin(self.store, node.name, self._full_key(step, key) if key else None)

    def adopt(self, step: str, uri: str, body: Mapping[str, Any] | None = None) -> Artifact:
        """Register an existing folder as the result of a step, for its present key.

        `body`: the artifact's typed fields; not needed for a folder that a step of some store made.
        Raises ConfigError when the step's own inputs are not there yet, or when it has a result
        already.
        """
        node = find_node(self._nodes, step)
        given = parse(node.returns, body, where=f"adopt {step}") if body is not None else None
        return adopt_folder(self.store, node, self._results_before(node), uri, given)

    def _chain_run(self, selection: Selection, run_id: str) -> ChainRun:
        parts = RunParts(
            store=self.store,
            executor=self._executor,
            tracker=self._tracker,
            observer=self._observer,
            owner=Owner.of_this_process(),
            backoff=self._backoff,
            lease_ttl_s=self._lease_ttl_s,
            provenance={**self._provenance, "run_name": self.run_name, "tracker_parent": run_id},
        )
        return ChainRun(self._nodes, selection, parts, self._resume_command)

    def _results_before(self, node: Node) -> dict[str, Artifact]:
        """Return the present results of a step's inputs; raises ConfigError when one is missing."""
        planned = {step.name: step for step in self.plan(only=[node.name])}
        results = {}
        for parent in node.parents:
            artifact = planned[parent].artifact
            if artifact is None:
                raise ConfigError(
                    f"step {node.name}: its input {parent} has no result yet "
                    f"({planned[parent].reason}); run {parent} first"
                )
            results[parent] = artifact
        return results

    def _pinnable_key(self, node: Node) -> str:
        step = next(one for one in self.plan(only=[node.name]) if one.name == node.name)
        if step.action == "skip":
            return step.key
        if step.nearest_key and all(is_code(field) for field, _, _ in step.diff):
            return step.nearest_key
        raise ConfigError(
            f"step {node.name} has no result that differs in code alone ({step.reason}); "
            "give the key to pin"
        )

    def _full_key(self, step: str, prefix: str) -> str:
        found = [name for name in self.store.list(step) if name.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} keys begin with" if found else "no key begins with"
        raise ConfigError(f"step {step}: {what} {prefix!r}; `plan` shows the present keys")

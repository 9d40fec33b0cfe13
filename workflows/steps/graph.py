"""The steps of a chain and how they hang together.

In: what `Chain.add` was given. Out: nodes in the order in which they were added, which is an order
in which they can run, since an input must be added before its user. Keys of nodes whose inputs are
known.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.core.artifact import Artifact
from components.core.config import Config
from components.core.errors import ConfigError
from workflows.steps.identity.keys import payload_key, step_payload


@dataclass(frozen=True)
class Handle:
    """Stands for the artifact that a step will make; pass it as an input of later steps."""

    step: str
    returns: type[Artifact] = field(compare=False)


# What `inputs` may hold: the result of another step, an artifact that exists, or several of these.
Input = Handle | Artifact | Sequence["Handle | Artifact"]


@dataclass(frozen=True)
class Node:
    """One step of the chain."""

    name: str
    function: Callable[..., Artifact]
    config: Config | None
    inputs: Mapping[str, Input]
    returns: type[Artifact]
    num_cpus: float
    retries: int
    stop_grace_s: float = 0.0
    """So long the step may take to save what it has, once it is asked to stop; 0: it cannot."""

    @property
    def parents(self) -> list[str]:
        """Names of the steps whose results this one takes."""
        names = []
        for value in self.inputs.values():
            members = [value] if isinstance(value, Handle | Artifact) else value
            names += [one.step for one in members if isinstance(one, Handle)]
        return list(dict.fromkeys(names))

    def bound_inputs(self, results: Mapping[str, Artifact]) -> dict[str, Any]:
        """Return the inputs with each handle replaced by the artifact of its step."""

        def bind(one: Handle | Artifact) -> Artifact:
            return results[one.step] if isinstance(one, Handle) else one

        return {
            name: bind(value)
            if isinstance(value, Handle | Artifact)
            else [bind(one) for one in value]
            for name, value in self.inputs.items()
        }

    def identity(self, results: Mapping[str, Artifact]) -> tuple[dict[str, Any], str]:
        """Return (payload, key) once all inputs are known."""
        inputs = self.bound_inputs(results)
        payload = step_payload(self.name, self.function, self.config, inputs)
        return payload, payload_key(payload)


def descendants(nodes: Mapping[str, Node], names: Iterable[str]) -> set[str]:
    """Return the named steps and all steps that use their results, directly or not."""
    found = set(names)
    for node in nodes.values():
        if found & set(node.parents):
            found.add(node.name)
    return found


def ancestors(nodes: Mapping[str, Node], names: Iterable[str]) -> set[str]:
    """Return the named steps and all steps whose results they need, directly or not."""
    found = set(names)
    for node in reversed(list(nodes.values())):
        if node.name in found:
            found |= set(node.parents)
    return found


@dataclass(frozen=True)
class Selection:
    """Which steps of a chain are looked at, may run, and must run."""

    wanted: frozenset[str]
    """Steps whose results are needed."""
    may_run: frozenset[str]
    forced: frozenset[str]


def select(
    nodes: Mapping[str, Node],
    only: Sequence[str],
    from_: str | None,
    force: Sequence[str],
) -> Selection:
    """Return the selection of `--only`, `--from` and `--force`; raises ConfigError for unknown
    names.

    `only`: nothing but these steps may run (none named: all); what they need must be there already.
    `from_`: this step runs again even if it has a result, and so does everything after it.
    `force`: these steps run again even if they have results.
    """
    may_run = {find_node(nodes, name, "--only").name for name in only} or set(nodes)
    forced = {find_node(nodes, name, "--force").name for name in force}
    if from_ is not None:
        forced |= descendants(nodes, [find_node(nodes, from_, "--from").name])
    wanted = ancestors(nodes, may_run)
    return Selection(frozenset(wanted), frozenset(may_run), frozenset(forced & may_run))


def find_node(nodes: Mapping[str, Node], name: str, option: str = "step") -> Node:
    """Return the node of that name; raises ConfigError with the nearest names."""
    if name in nodes:
        return nodes[name]
    near = difflib.get_close_matches(name, list(nodes), n=3, cutoff=0.4)
    advice = f"did you mean {' or '.join(near)}?" if near else f"steps: {', '.join(nodes)}"
    raise ConfigError(f"{option}: there is no step {name!r}; {advice}")

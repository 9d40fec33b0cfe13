"""What a version was made from: version -> checkpoint -> prepared data -> raw data.

In: flat records of artifacts (step, key, digest, inputs), as the step layer keeps them. Out: one
tree, small enough to be a tag of the version, and its printed form. It reads no store and no
MLflow.
"""

from collections.abc import Iterable, Iterator, Mapping

from components.core.config import Config
from components.core.errors import RegistryError


class LineageNode(Config):
    """One artifact and what it was made from."""

    step: str
    """Step that made it (`finetune`), or the kind of a root (`raw`, `base`)."""
    uri: str = ""
    digest: str = ""
    key: str = ""
    """Step key; empty for a root that no step made."""
    run_id: str = ""
    """MLflow run of the step."""
    note: str = ""
    """A few words for the reader: rows, steps, sources."""
    inputs: dict[str, "LineageNode"] = {}


class ArtifactRecord(Config):
    """One artifact, flat: inputs are named by digest."""

    step: str
    digest: str
    uri: str = ""
    key: str = ""
    run_id: str = ""
    note: str = ""
    inputs: dict[str, str] = {}
    """Input name to digest."""


def build(records: Iterable[ArtifactRecord], digest: str) -> LineageNode:
    """Return the tree above the artifact with this digest.

    An input without a record is a root: its digest stays as the evidence. Raises RegistryError when
    the artifact itself has no record or the records go in a circle.
    """
    by_digest = {record.digest: record for record in records}
    if digest not in by_digest:
        raise RegistryError(
            f"no record of artifact {digest[:12]}; records: "
            + (", ".join(f"{r.step} {r.digest[:12]}" for r in by_digest.values()) or "none")
        )
    return _node(by_digest, digest, name="", above=())


def nodes(root: LineageNode) -> list[LineageNode]:
    """List every node once, the root first, inputs after what they went into."""
    seen: dict[tuple[str, str], LineageNode] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop(0)
        if seen.setdefault((node.step, node.digest or node.uri), node) is node:
            waiting += node.inputs.values()
    return list(seen.values())


def render_tree(root: LineageNode, title: str = "") -> str:
    """Return the tree as text, one artifact a line; a branch shown above is not repeated."""
    lines = [title] if title else []
    shown: set[tuple[str, str]] = set()
    lines += _lines(root, "", shown) if not title else _branches({"": root}, "", shown)
    return "\n".join(lines)


def _node(
    by_digest: Mapping[str, ArtifactRecord], digest: str, name: str, above: tuple[str, ...]
) -> LineageNode:
    if digest in above:
        raise RegistryError(f"lineage records go in a circle at artifact {digest[:12]}")
    record = by_digest.get(digest)
    if record is None:
        return LineageNode(step=name, digest=digest)
    inputs = {
        input_name: _node(by_digest, input_digest, input_name, (*above, digest))
        for input_name, input_digest in record.inputs.items()
    }
    return LineageNode(
        step=record.step,
        uri=record.uri,
        digest=record.digest,
        key=record.key,
        run_id=record.run_id,
        note=record.note,
        inputs=inputs,
    )


def _lines(node: LineageNode, indent: str, shown: set[tuple[str, str]]) -> Iterator[str]:
    identity = (node.step, node.digest or node.uri)
    repeated = identity in shown and bool(node.inputs)
    shown.add(identity)
    facts = [node.digest[:12], node.note, node.uri, "(see above)" if repeated else ""]
    yield "  ".join([node.step, *(fact for fact in facts if fact)])
    if not repeated:
        yield from _branches(node.inputs, indent, shown)


def _branches(
    inputs: Mapping[str, LineageNode], indent: str, shown: set[tuple[str, str]]
) -> Iterator[str]:
    for number, (name, node) in enumerate(inputs.items(), start=1):
        last = number == len(inputs)
        inner = indent + ("    " if last else "|   ")
        label = f"{name}: " if name and name != node.step else ""
        for depth, line in enumerate(_lines(node, inner, shown)):
            yield f"{indent}{'`-- ' if last else '|-- '}{label}{line}" if depth == 0 else line

"""Walks the records of the store back from an artifact to the raw data.

In: a store and an artifact that a step published there. Out: flat records for the registry's
lineage tree. Inputs that no step made (base models, an adopted folder) end a branch.
"""

from collections.abc import Iterator
from typing import Any

from components.core.artifact import Artifact
from components.core.errors import StoreError
from components.core.store import Store
from components.registry.lineage import ArtifactRecord


def ancestors(store: Store, artifact: Artifact) -> list[ArtifactRecord]:
    """Return a record for the artifact and everything it was made from, each once."""
    found: dict[str, ArtifactRecord] = {}
    waiting = [artifact.uri]
    while waiting:
        record = _record(store, waiting.pop(0))
        if record is None or record["digest"] in found:
            continue
        inputs = dict(_inputs(record))
        found[record["digest"]] = ArtifactRecord(
            step=record["step"],
            digest=record["digest"],
            uri=record["uri"],
            key=record["key"],
            run_id=str(record["made_by"].get("tracker_run", "")),
            note=_note(record["artifact"]),
            inputs={name: digest for name, (digest, _) in inputs.items()},
        )
        waiting += [uri for _, uri in inputs.values() if uri]
    return list(found.values())


def read_record(store: Store, uri: str) -> dict[str, Any] | None:
    """Return the step record that published the files at `uri`, or None when no step of the store
    did.
    """
    path = store.relative(uri)
    parts = path.split("/") if path else []
    if len(parts) < 2:
        return None
    try:
        record = store.read_json(f"{parts[0]}/{parts[1]}/record.json")
    except (FileNotFoundError, StoreError):
        return None
    return record if isinstance(record, dict) else None


def _record(store: Store, uri: str) -> dict[str, Any] | None:
    record = read_record(store, uri)
    return None if record is None else {**record, "uri": uri}


def _inputs(record: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield input name -> (digest, uri); a list of inputs is numbered."""
    for name, value in record["inputs"].items():
        if isinstance(value, list):
            for index, one in enumerate(value):
                yield f"{name}[{index}]", (one["digest"], one["uri"])
        else:
            yield name, (value["digest"], value["uri"])


def _note(artifact: dict[str, Any]) -> str:
    """A few words about an artifact: whichever of these counts its record carries."""
    words = {
        "num_rows": "rows",
        "num_rejected": "rejected",
        "num_images": "images",
        "num_steps": "steps",
        "final_loss": "final loss",
    }
    facts = []
    for field, word in words.items():
        value = artifact.get(field)
        if isinstance(value, dict):
            value = sum(value.values())
        if isinstance(value, float):
            facts.append(f"{word} {value:.3f}")
        elif value:
            facts.append(f"{value:,} {word}")
    return ", ".join(facts)

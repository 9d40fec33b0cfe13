"""Adoption: register a folder made elsewhere as the result of a step.

In: the address of a folder (a published checkpoint, an artifact of another store) and the
artifact's typed fields. Out: a record for the step's present key. The files stay where they are;
they are hashed once, and checked at each hit like any other result.
"""

import time
from pathlib import PurePosixPath
from typing import Any

from components.core.artifact import Artifact, build_manifest
from components.core.config import parse
from components.core.errors import ArtifactError, ConfigError
from components.core.store import Store, resolve
from workflows.steps.graph import Node
from workflows.steps.identity.keys import artifact_digest
from workflows.steps.identity.payloads import write_payload
from workflows.steps.state.layout import StepFolder, new_attempt
from workflows.steps.state.leases import Lease, LeaseWatch
from workflows.steps.state.owner import Owner
from workflows.steps.state.records import Hit, StepRecord, look_up, publish, write_manifest


def adopt_folder(
    store: Store,
    node: Node,
    results: dict[str, Artifact],
    uri: str,
    body: Artifact | None,
) -> Artifact:
    """Return the adopted artifact after publishing its record; see `Chain.adopt`."""
    payload, key = node.identity(results)
    folder = StepFolder(node.name, key)
    found = look_up(store, folder, node.returns)
    if isinstance(found, Hit):
        raise ConfigError(
            f"step {node.name} has a result already ({found.artifact.uri}); to take "
            f"another in its place, delete {store.uri(folder.record)} first"
        )
    source, path = resolve(uri)
    body = body if body is not None else _body_from_record(node, uri)
    owner = Owner.of_this_process()
    lease = LeaseWatch(store, folder, owner).acquire()
    if not isinstance(lease, Lease):
        raise ConfigError(
            f"step {node.name} is being run by {lease.owner}; wait for it or stop it, then adopt"
        )
    try:
        write_payload(store, folder, payload)
        started = time.time()
        manifest = build_manifest(source.local_copy(path)).with_stamps(source.stamps(path))
        if not manifest.files:
            raise ArtifactError(f"{uri}: no files there; give the folder of the artifact's files")
        attempt = new_attempt()
        write_manifest(store, folder, attempt, manifest)
        fields = body.model_dump(mode="json", exclude={"uri", "digest"})
        record = StepRecord(
            step=node.name,
            key=key,
            attempt=attempt,
            artifact_kind=type(body).__name__,
            artifact={**fields, "uri": source.uri(path)},
            digest=artifact_digest(body, manifest),
            made_by={"owner": owner.to_json(), "tracker_run": ""},
            started_at=started,
            seconds=0.0,
            adopted=True,
        )
        lease.confirm()
        publish(store, folder, record, found if found.data is not None else None)
    finally:
        lease.release()
    adopted = look_up(store, folder, node.returns)
    assert isinstance(adopted, Hit), adopted
    return adopted.artifact


def _body_from_record(node: Node, uri: str) -> Artifact:
    """Return the typed fields from the record beside a folder that a step of another store made."""
    folder = PurePosixPath(uri.rstrip("/"))
    attempt = folder.parent.name
    source, _ = resolve(uri.rstrip("/").removesuffix(f"/{attempt}/{folder.name}") + "/record.json")
    for name in ("record.json", f"superseded/{attempt}.json"):
        try:
            value: Any = source.read_json(name)
        except FileNotFoundError:
            continue
        if value.get("attempt") == attempt and value.get("artifact_kind") == node.returns.__name__:
            fields = {name: one for name, one in value["artifact"].items() if name != "uri"}
            return parse(node.returns, fields, where=source.uri(name))
    needed = [name for name in node.returns.model_fields if name not in ("uri", "digest")]
    raise ConfigError(
        f"{uri}: no record of a {node.returns.__name__} beside it; give its fields "
        f"({', '.join(needed)}) to adopt it"
    )

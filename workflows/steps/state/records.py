"""Records of finished steps: reading, checking and publishing them.

In: a store and a step's folder. Out: a verified hit, or the reason why there is none. A record is
written last and atomically, after the files and their manifest; nothing else means "done". Records
carry a schema version: one of another version is a miss with that reason, never a half-read hit.
"""

import json
import logging
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from components.core.artifact import Artifact, Manifest
from components.core.config import parse
from components.core.errors import ArtifactError, ConfigError, LeaseLost
from components.core.store import Store, encode_json, resolve
from workflows.steps.state.layout import StepFolder

log = logging.getLogger(__name__)

# Raised when the record's form changes; records of another version are not hits.
RECORD_SCHEMA = 1


@dataclass(frozen=True)
class StepRecord:
    """What is written when a step is done."""

    step: str
    key: str
    attempt: str
    artifact_kind: str
    artifact: Mapping[str, Any]
    """The artifact's typed fields; its `uri` is empty for files of the attempt, else an adopted
    address.
    """
    digest: str
    made_by: Mapping[str, Any]
    """The driver (host, process, user, command) and the tracker's run."""
    started_at: float
    """Unix time in seconds."""
    seconds: float
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Name -> {uri, digest} (or a list of them): the lineage."""
    adopted: bool = False
    schema: int = RECORD_SCHEMA

    @property
    def tracker_run(self) -> str:
        """Id of the tracker's run that made it, or empty."""
        return str(self.made_by.get("tracker_run", ""))


@dataclass(frozen=True)
class Hit:
    """A finished step whose files are all there; `data` is its record as stored."""

    record: StepRecord
    artifact: Artifact
    data: bytes


@dataclass(frozen=True)
class Miss:
    """Why there is no usable result; `record` and `data` are of the unusable one, where there is
    one.
    """

    reason: str
    record: StepRecord | None = None
    data: bytes | None = None


def look_up(store: Store, folder: StepFolder, returns: type[Artifact]) -> Hit | Miss:
    """Return the verified result of a key, or why it cannot be used."""
    try:
        data = store.read_bytes(folder.record)
    except FileNotFoundError:
        return Miss("no result yet")
    try:
        record = _parse_record(data, store.uri(folder.record))
    except ArtifactError as error:
        return Miss(f"the record cannot be used: {error}", None, data)
    if record.artifact_kind != returns.__name__:
        kinds = f"holds a {record.artifact_kind}, the step now returns a {returns.__name__}"
        return Miss(f"the record {kinds}", record, data)
    try:
        wrong = verify_record(store, folder, record)
        artifact = published_artifact(store, folder, record, returns)
    except (ArtifactError, ConfigError) as error:
        return Miss(f"the result cannot be used: {error}", record, data)
    if wrong:
        return Miss(f"the result is damaged: {wrong}", record, data)
    return Hit(record, artifact, data)


def verify_record(store: Store, folder: StepFolder, record: StepRecord) -> str | None:
    """Return which of the result's files are missing or altered, or None when it is whole."""
    try:
        value = store.read_json(folder.manifest(record.attempt))
    except FileNotFoundError:
        return "its manifest is missing"
    manifest = Manifest.from_json(value, store.uri(folder.manifest(record.attempt)))
    uri = str(record.artifact.get("uri") or "")
    owner, path = resolve(uri) if uri else (store, folder.files(record.attempt))
    return owner.verify(path, manifest)


def published_artifact(
    store: Store, folder: StepFolder, record: StepRecord, returns: type[Artifact]
) -> Artifact:
    """Return the typed artifact of a record, its address made for the present place of the
    store.
    """
    body = {key: value for key, value in record.artifact.items() if key != "uri"}
    uri = str(record.artifact.get("uri") or "") or store.uri(folder.files(record.attempt))
    where = store.uri(folder.record)
    return parse(returns, {**body, "uri": uri, "digest": record.digest}, where=where)


def write_manifest(store: Store, folder: StepFolder, attempt: str, manifest: Manifest) -> None:
    """Write the manifest of an attempt: the second phase, after all files and before the record."""
    store.write_bytes(folder.manifest(attempt), encode_json(manifest.to_json()))


def manifest_beside(store: Store, files_path: str) -> Manifest | None:
    """Return the manifest of a published artifact's folder, or None for a folder made elsewhere."""
    path = posixpath.join(posixpath.dirname(files_path), "manifest.json")
    try:
        return Manifest.from_json(store.read_json(path), store.uri(path))
    except FileNotFoundError:
        return None


def publish(
    store: Store, folder: StepFolder, record: StepRecord, replaces: Miss | Hit | None
) -> None:
    """Write the record, last. An earlier record that it replaces is kept under `superseded/`.

    The caller holds the lease. Raises LeaseLost when another driver published meanwhile all the
    same.
    """
    data = encode_json(asdict(record))
    old = replaces.data if replaces is not None else None
    if old is None:
        done = store.put_if_absent(folder.record, data)
    else:
        earlier = replaces.record if replaces is not None else None
        name = earlier.attempt if earlier is not None else "unreadable"
        store.write_bytes(f"{folder.superseded}/{name}.json", old)
        done = store.replace_if_unchanged(folder.record, old, data)
    if not done and store.read_bytes(folder.record) != data:
        raise LeaseLost(
            f"{store.uri(folder.record)}: another driver published this step meanwhile; "
            "run the same command again to use its result"
        )


def collect_garbage(store: Store, folder: StepFolder, keep_attempt: str) -> list[str]:
    """Delete attempts that never became a result, and resume folders; returns the deleted names.

    Attempts that some record once named stay: a registered model version may point there.
    """
    named = {name.removesuffix(".json") for name in store.list(folder.superseded)}
    deleted = []
    for name in store.list(folder.path):
        dead_attempt = name.startswith("attempt-") and name != keep_attempt and name not in named
        if dead_attempt or name == "resume" or name.startswith("resume-after-"):
            store.delete(f"{folder.path}/{name}", recursive=True)
            deleted.append(name)
    return deleted


def _parse_record(data: bytes, where: str) -> StepRecord:
    try:
        value = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where}: not valid JSON ({error})") from error
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema != RECORD_SCHEMA:
        raise ArtifactError(f"{where}: schema {schema}, this version reads {RECORD_SCHEMA}")
    try:
        return StepRecord(**value)
    except TypeError as error:
        raise ArtifactError(f"{where}: not a record ({error})") from error

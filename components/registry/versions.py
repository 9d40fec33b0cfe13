"""Model versions: registered without copying weights, found by name and alias.

In: the address of a checkpoint in the store, its digest, scores, lineage, card. Out: an MLflow
model version whose source is that address, and `ResolvedVersion` records. A checkpoint of many
gigabytes is never uploaded: MLflow holds an external model that points to it (mlflow issues 7564,
8539). Whether the checkpoint still is what was registered is for the caller to check, by `digest`.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.config import Config, parse
from components.core.errors import RegistryError
from components.registry import connection, names
from components.registry.connection import despite_races
from components.registry.lineage import LineageNode
from components.registry.run_writer import ensure_experiment
from components.registry.scores import ScoreRow, interval_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

# One word characters, dots, dashes: MLflow refuses "/" and ":", its URIs give meaning to "@".
_NAME = r"[A-Za-z0-9][A-Za-z0-9._ -]*"
_REFERENCE = re.compile(
    rf"(?:models:/)?(?P<name>{_NAME})(?:@(?P<alias>[\w.-]+)|/v?(?P<version>\d+))"
)


class ResolvedVersion(Config):
    """One registered version, as plain values."""

    name: str
    version: int
    uri: str
    """Where the checkpoint lies."""
    digest: str = ""
    """The checkpoint's digest when it was registered."""
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    run_id: str = ""
    created_ms: int = 0

    @property
    def reference(self) -> str:
        """`name/3`: what `resolve` takes."""
        return f"{self.name}/{self.version}"

    @property
    def scores(self) -> tuple[ScoreRow, ...]:
        """The scores it was registered with."""
        rows = json.loads(self.tags.get(names.SCORES, "[]"))
        return tuple(parse(ScoreRow, row, where=self.reference) for row in rows)

    @property
    def lineage(self) -> LineageNode | None:
        """What it was made from, None for a version that was registered by other means."""
        text = self.tags.get(names.LINEAGE)
        return LineageNode.model_validate_json(text) if text else None


class Registration(Config):
    """Everything that is written down about a new version."""

    checkpoint_uri: str
    checkpoint_digest: str
    key: str = ""
    """Step key of the registration: registering the same key again returns the same version."""
    run_id: str = ""
    """MLflow run of the register step, so that the version links to it."""
    recipe: str = ""
    code_version: str = ""
    scores: tuple[ScoreRow, ...] = ()
    lineage: LineageNode | None = None
    card: str = ""
    """Model card in markdown; becomes the version's description."""
    tags: dict[str, str] = {}


class Registry:
    """The model registry at one tracking address. Safe to use from several threads."""

    def __init__(self, tracking_uri: str, experiment: str = "lavaflow") -> None:
        self.tracking_uri = tracking_uri
        self.experiment = experiment

    def register(self, name: str, registration: Registration) -> ResolvedVersion:
        """Create a version of a model, give it the alias `candidate`, and return it.

        Registering the same key again returns the version that is there.
        """
        if not re.fullmatch(_NAME, name):
            raise RegistryError(
                f"model name {name!r}: expected letters, digits, '.', '_', '-' and spaces"
            )
        with self._client(f"registering a version of {name}") as client:
            _ensure_model(client, name)
            version = _registered_before(client, name, registration.key)
            if version is None:
                version = self._create(client, name, registration)
        newest, *_ = made = self.versions(name)
        # Also when it was registered before: that attempt may have ended before this line.
        if newest.version == version and not newest.aliases and names.PROMOTED not in newest.tags:
            self.set_alias(name, names.CANDIDATE, version)
            made = self.versions(name)
        return next(each for each in made if each.version == version)

    def resolve(self, reference: str) -> ResolvedVersion:
        """Return the version that `name@alias` or `name/3` means (with or without `models:/`).

        Raises RegistryError naming what does exist.
        """
        match = _REFERENCE.fullmatch(reference.strip())
        if match is None:
            raise RegistryError(
                f"{reference!r} names no model version; expected NAME@ALIAS or NAME/VERSION, "
                "such as lavaflow-tiny@champion or lavaflow-tiny/3"
            )
        if match["version"]:
            return self.version(match["name"], int(match["version"]))
        found = self.alias(match["name"], match["alias"])
        if found is None:
            raise RegistryError(self._no_alias(match["name"], match["alias"]))
        return found

    def version(self, name: str, version: int) -> ResolvedVersion:
        """Return one version by number."""
        versions = self.versions(name)
        for each in versions:
            if each.version == version:
                return each
        existing = ", ".join(str(each.version) for each in reversed(versions)) or "none"
        raise RegistryError(f"model {name} has no version {version}; versions: {existing}")

    def versions(self, name: str) -> list[ResolvedVersion]:
        """List all versions of a model, newest first. Raises RegistryError for an unknown model."""
        with self._client(f"listing the versions of {name}") as client:
            found = list(_pages(client, f"name='{_quoted(name)}'"))
            aliases: dict[int, list[str]] = {}
            if found:
                for alias, number in client.get_registered_model(name).aliases.items():
                    aliases.setdefault(int(number), []).append(alias)
        if not found and name not in (known := self.models()):
            raise RegistryError(
                f"no model named {name!r} in MLflow at "
                f"{connection.hide_password(self.tracking_uri)}; "
                f"models: {', '.join(known) or 'none'}"
            )
        rows = [_resolved(each, aliases.get(int(each.version), ())) for each in found]
        return sorted(rows, key=lambda row: -row.version)

    def models(self) -> list[str]:
        """List the names of all registered models."""
        with self._client("listing models") as client:
            return sorted(model.name for model in client.search_registered_models())

    def alias(self, name: str, alias: str) -> ResolvedVersion | None:
        """Return the version an alias points to, None when the model lacks the alias."""
        return next((each for each in self.versions(name) if alias in each.aliases), None)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let an alias point to a version."""
        with self._client(f"setting {name}@{alias}") as client:
            despite_races(client.set_registered_model_alias, name, alias, str(version))

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no error when it is not there."""
        with self._client(f"removing {name}@{alias}") as client:
            client.delete_registered_model_alias(name, alias)

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags on a version."""
        with self._client(f"tagging {name}/{version}") as client:
            for tag, value in tags.items():
                despite_races(client.set_model_version_tag, name, str(version), tag, value)

    def _create(self, client: "MlflowClient", name: str, registration: Registration) -> int:
        tags = _version_tags(registration)
        model_id = self._external_model(client, name, registration, tags)
        source = registration.checkpoint_uri
        if self.tracking_uri.startswith("http") and source.startswith(("/", "file:")):
            # A server refuses sources on a local disk, which is right for one it would serve
            # files from; the external model stands in, the tag keeps the checkpoint's address.
            source = f"models:/{model_id}"
        version = despite_races(
            client.create_model_version,
            name,
            source,
            run_id=registration.run_id or None,
            tags=tags,
            description=registration.card or None,
            model_id=model_id if source.startswith("models:") else None,
        )
        return int(version.version)

    def _external_model(
        self,
        client: "MlflowClient",
        name: str,
        registration: Registration,
        tags: Mapping[str, str],
    ) -> str:
        """Create the logged model that shows checkpoint, scores and card in MLflow's UI."""
        from mlflow.entities import LoggedModelOutput

        experiment_id = ensure_experiment(client, self.tracking_uri, self.experiment)
        run_id = registration.run_id or None
        short = {key: value for key, value in tags.items() if len(value) <= 5000}
        model = client.create_logged_model(
            experiment_id, name=name, source_run_id=run_id, tags=short, model_type="vision-language"
        )
        if registration.card:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "README.md").write_text(registration.card, encoding="utf-8")
                client.log_model_artifacts(model.model_id, folder)
        if run_id:
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            for row in registration.scores:
                client.log_metric(
                    run_id,
                    row.metric_name,
                    row.percent,
                    dataset_name=row.benchmark,
                    dataset_digest=(row.questions_digest or "-")[:36],
                    model_id=model.model_id,
                )
        return str(client.finalize_logged_model(model.model_id, "READY").model_id)

    def _no_alias(self, name: str, alias: str) -> str:
        known = sorted(
            f"{each} -> {row.version}" for row in self.versions(name) for each in row.aliases
        )
        advice = f"aliases: {', '.join(known)}" if known else "it has no alias yet"
        if alias == names.CHAMPION:
            advice += "; promote a version first"
        return f"model {name} has no alias {alias!r}; {advice}"

    @contextlib.contextmanager
    def _client(self, doing: str) -> Iterator["MlflowClient"]:
        try:
            yield connection.connect(self.tracking_uri)
        except RegistryError:
            raise
        except Exception as error:
            raise connection.readable(error, self.tracking_uri, doing) from error


def _ensure_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _registered_before(client: "MlflowClient", name: str, key: str) -> int | None:
    if not key:
        return None
    found = _pages(client, f"name='{_quoted(name)}' and tags.`{names.STEP_KEY}`='{_quoted(key)}'")
    return next((int(each.version) for each in found), None)


def _version_tags(registration: Registration) -> dict[str, str]:
    tags = {
        names.CHECKPOINT_URI: registration.checkpoint_uri,
        names.CHECKPOINT_DIGEST: registration.checkpoint_digest,
        names.STEP_KEY: registration.key,
        names.RECIPE: registration.recipe,
        names.CODE_VERSION: registration.code_version,
    }
    if registration.lineage is not None:
        tags[names.LINEAGE] = registration.lineage.model_dump_json(exclude_defaults=True)
    if registration.scores:
        rows: Sequence[ScoreRow] = [row.without_questions() for row in registration.scores]
        tags[names.SCORES] = json.dumps([row.canonical() for row in rows])
        tags |= {names.SCORE + row.benchmark: interval_text(row) for row in rows}
    tags |= registration.tags
    return {name: value for name, value in tags.items() if value}


def _pages(client: "MlflowClient", search: str) -> Iterator["ModelVersion"]:
    token = None
    while True:
        page = client.search_model_versions(search, max_results=200, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _resolved(version: "ModelVersion", aliases: Sequence[str]) -> ResolvedVersion:
    tags = dict(version.tags)
    return ResolvedVersion(
        name=version.name,
        version=int(version.version),
        uri=tags.get(names.CHECKPOINT_URI) or version.source,
        digest=tags.get(names.CHECKPOINT_DIGEST, ""),
        aliases=tuple(sorted(aliases)),
        tags=tags,
        run_id=version.run_id or "",
        created_ms=int(version.creation_timestamp or 0),
    )


def _quoted(text: str) -> str:
    return text.replace("'", "''")

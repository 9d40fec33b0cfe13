"""What users call a registered version: NAME@ALIAS or NAME/VERSION, or nothing where one is meant.

In: a word of the command line. Out: whether it is such a reference, and the version, whose
checkpoint is there.
"""

import re
from pathlib import Path

from components.core.errors import RegistryError
from components.core.store import resolve
from components.registry import names
from components.registry.versions import Registry, ResolvedVersion

_REGISTERED = re.compile(r"[^/@:]+(?:@[\w.-]+|/v?\d+)")


def names_version(reference: str) -> bool:
    """Return whether a reference has the form of a version; a folder of that name comes first."""
    is_place = "://" in reference or Path(reference).expanduser().exists()
    return not is_place and _REGISTERED.fullmatch(reference) is not None


def find_version(tracking_uri: str, reference: str) -> ResolvedVersion:
    """Return the version.

    Raises RegistryError when there is none, or when its checkpoint is gone.
    """
    return with_checkpoint(Registry(tracking_uri).resolve(reference))


def version_to_serve(registry: Registry, reference: str | None) -> ResolvedVersion:
    """Return the version that is to be served: the named one, else the champion of the named or of
    the only model.

    Raises RegistryError when there is none, or when its checkpoint is gone.
    """
    name = reference or only_model(registry)
    if "@" not in name and "/" not in name:
        champion = registry.alias(name, names.CHAMPION)
        if champion is None:
            raise RegistryError(
                f"model {name} has no champion; promote a version, or name one: {name}/1"
            )
        return with_checkpoint(champion)
    return with_checkpoint(registry.resolve(name))


def only_model(registry: Registry) -> str:
    """Return the name of the only registered model; raises RegistryError when there is none, or
    several.
    """
    models = registry.models()
    if len(models) == 1:
        return models[0]
    if not models:
        raise RegistryError("no model is registered yet; run a recipe first: lavaflow run tiny")
    raise RegistryError(
        f"several models are registered: {', '.join(models)}; choose one with --model"
    )


def with_checkpoint(version: ResolvedVersion) -> ResolvedVersion:
    """Return the version, or raise RegistryError here and not in a worker: its files are gone."""
    store, path = resolve(version.uri)
    if not store.exists(path):
        raise RegistryError(
            f"{version.reference}: its checkpoint {version.uri} is gone; run the recipe again, "
            "or name another version (lavaflow models)"
        )
    return version

"""What users call a registered version: NAME@ALIAS or NAME/VERSION.

In: a word of the command line. Out: whether it is such a reference, and the version, whose
checkpoint is there.
"""

import re
from pathlib import Path

from components.core.errors import RegistryError
from components.core.store import resolve
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


def with_checkpoint(version: ResolvedVersion) -> ResolvedVersion:
    """Return the version, or raise RegistryError here and not in a worker: its files are gone."""
    store, path = resolve(version.uri)
    if not store.exists(path):
        raise RegistryError(
            f"{version.reference}: its checkpoint {version.uri} is gone; run the recipe again, "
            "or name another version (lavaflow models)"
        )
    return version

"""What travels with a version: how it is served, and when it may become champion.

In: a recipe's values, kept when its model is registered. Out: the same values for `deploy`,
`promote` and the roll-over, whatever the model is called and the recipes say by then. Of the gates
of two versions the candidate's decides: the champion's may be older than a benchmark or a floor.

They are one tag of the version, written by the request that creates it. So no version is without, a
copy of the registry has them, and no store of files must be reachable. MLflow takes 100,000
characters in such a tag (MySQL 65,535, older servers 5,000); these are some 1,200. None is secret.
"""

import json
import logging

from components.core.config import changed_fields, parse
from components.core.errors import ConfigError, RegistryError
from components.registry import names
from components.registry.versions import Registry, ResolvedVersion
from workflows.artifacts import VersionSettings
from workflows.recipes import get_recipe

log = logging.getLogger(__name__)


def settings_of(version: ResolvedVersion, recipe: str | None = None) -> VersionSettings:
    """Return the settings that were kept with a version, or those of the recipe named instead.

    Raises RegistryError when an older lavaflow kept none, or another one wrote what is unknown
    here: a guess would serve it on the wrong device, or let it pass a gate that is not its own.
    """
    if recipe is not None:
        return VersionSettings.of(get_recipe(recipe))
    instead = f"name a recipe that has them: --recipe {version.tags.get(names.RECIPE, 'RECIPE')}"
    text = version.tags.get(names.SETTINGS)
    if text is None:
        raise RegistryError(
            f"{version.reference}: no serving settings and no gate were kept with it, as by older "
            f"versions of lavaflow; {instead}, or run its recipe again, which registers a version "
            "that has them"
        )
    try:
        return parse(VersionSettings, json.loads(text), where="settings")
    except (ConfigError, ValueError, TypeError) as error:
        raise RegistryError(
            f"{version.reference}: the settings kept with it cannot be read here ({error}); use "
            f"the version of lavaflow that wrote them, or {instead}"
        ) from None


def renew_settings(registry: Registry, name: str, version: int, new: VersionSettings) -> list[str]:
    """Keep new values of a version's port, replicas and resources; return what changed, in words.

    Those do not identify the register step: a run with other ones finds the version registered.
    The last run's stand, as if it had registered it.
    """
    try:
        known = registry.version(name, version)
        old = known.tags.get(names.SETTINGS)
        if old == new.tags()[names.SETTINGS]:
            return []
        registry.set_tags(name, version, new.tags())
    except RegistryError as error:
        log.warning("The settings of %s/%d are not kept: %s", name, version, error)
        return []
    if old is None:
        return []
    try:
        changed = changed_fields(settings_of(known).canonical(), new.canonical())
    except RegistryError:
        return ["this run's settings; those before could not be read"]
    return [f"{field}: {before} -> {after}" for field, before, after in changed]

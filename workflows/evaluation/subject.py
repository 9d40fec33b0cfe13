"""The model that a user names to have it judged, of whatever kind.

In: a folder, an address, a registered version, a name on the hub, the URL of an API. Out: what it
is called, what its answers depend on, and how it is opened. Nothing is loaded before it is opened.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import ConfigError
from components.evaluation.config import EvaluationConfig
from components.evaluation.targets.checkpoint import Target
from components.model.folders import local_folder, pin_address
from workflows.base import folder_digest
from workflows.home import Home, api_key
from workflows.registration.references import find_version, names_version

OURS = "lavaflow.json"
"""The file by which a folder is known as a model of lavaflow."""


@dataclass(frozen=True)
class ModelUnderTest:
    """A model that is to be judged."""

    name: str
    """What it is called in tables and folders."""
    identity: str
    """Equal for equal answers, as far as that can be known: a digest, or an address."""
    open: Callable[[EvaluationConfig], Target]
    """Makes the target: loads the model, or reaches it."""


def find_model(home: Home, reference: str, api_model: str | None = None) -> ModelUnderTest:
    """Return the model that a reference names.

    Raises ConfigError for one that names nothing, RegistryError for an unknown version.
    """
    if reference.startswith(("http://", "https://")):
        return _behind_api(reference, api_model)
    if names_version(reference):
        version = find_version(home.tracking_uri, reference)
        return _folder(home, version.uri, version.reference.replace("/", "-"))
    name = Path(reference.rstrip("/")).name
    return _folder(home, reference, name)


def _folder(home: Home, address: str, name: str) -> ModelUnderTest:
    try:
        pinned = pin_address(address)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; or NAME@ALIAS, NAME/VERSION (lavaflow models), or the http address of an "
            "API that speaks as OpenAI's does"
        ) from None
    identity = pinned if "://" in pinned else folder_digest(Path(pinned), home.path)

    def opened(config: EvaluationConfig) -> Target:
        folder = local_folder(pinned)
        if (folder / OURS).is_file():
            from components.evaluation.targets.checkpoint import CheckpointTarget

            return CheckpointTarget(folder, config.dtype, batch_size=config.batch_size)
        from components.evaluation.targets.vlm import TransformersTarget

        return TransformersTarget(folder, config.dtype, batch_size=config.batch_size)

    return ModelUnderTest(name, identity, opened)


def _behind_api(url: str, api_model: str | None) -> ModelUnderTest:
    from components.evaluation.targets.chat import ChatTarget

    base = url.rstrip("/")
    base = base if base.endswith("/v1") else f"{base}/v1"
    target = ChatTarget(base, api_model, api_key())
    return ModelUnderTest(Path(target.model).name, f"{base} {target.model}", lambda _: target)

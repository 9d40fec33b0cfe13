"""What the model card says of the parts that training started from: their names and licences.

In: a part's pinned address. Out: the name that it has in public, never a path of this machine, and
the licence that its folder states. What a folder does not say is not guessed.
"""

import json
import logging
from typing import Any

from components.core.errors import LavaflowError
from components.core.store import Store
from components.model.folders import HUB, local_folder

log = logging.getLogger(__name__)

CARDS = ("README.md", "MODEL_CARD.md")
LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
NOT_STATED = "not stated in its folder"


def describe_part(pinned: str) -> tuple[str, str]:
    """Return (name, licence) of a base part; a folder that cannot be read ends no registration."""
    address = pinned.partition("#")[0].rstrip("/")
    on_hub = pinned.startswith(HUB)
    called, _, commit = address.removeprefix(HUB).partition("@") if on_hub else ("", "", "")
    try:
        folder = Store(str(local_folder(pinned, weights=False)) if on_hub else address)
        config = json.loads(_text(folder, "config.json") or "{}")
        card = _card(folder)
        licence = _licence(folder, card)
    except (LavaflowError, OSError, ValueError) as error:
        log.warning("The card says little of %s: %s", called or address, error)
        config, card, licence = {}, {}, NOT_STATED
    if on_hub:
        return f"{called} at {commit[:12]}", licence
    name = card.get("model_name") or _origin(config) or address.rsplit("/", 1)[-1]
    kind = next(iter(config.get("architectures") or ()), config.get("model_type"))
    return (f"{name} ({kind})" if kind else str(name)), licence


def _card(folder: Store) -> dict[str, Any]:
    """The front matter of the folder's own card; one that cannot be read says nothing."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    texts = [_text(folder, name) for name in CARDS]
    text = next((text for text in texts if text.startswith("---")), None)
    try:
        return ModelCard(text, ignore_metadata_errors=True).data.to_dict() if text else {}
    except YAMLError:
        return {}


def _licence(folder: Store, card: dict[str, Any]) -> str:
    stated = card.get("license")
    if stated == "other":  # the hub's word for one that it has no short name for
        stated = card.get("license_name") or card.get("license_link") or stated
    if stated:
        return ", ".join(stated) if isinstance(stated, list) else str(stated)
    lines = "\n".join(_text(folder, name) for name in LICENCES).splitlines()
    return next((line.strip("#* ") for line in lines if line.strip("#* ")), NOT_STATED)


def _origin(config: dict[str, Any]) -> str | None:
    """The name under which transformers loaded it, where that is a hub's name and no path."""
    name = str(config.get("_name_or_path") or "").rstrip("/")
    is_path = name.startswith(("/", ".", "~")) or ":" in name or "\\" in name or name.count("/") > 1
    return None if is_path else name or None


def _text(folder: Store, name: str) -> str:
    return folder.read_bytes(name).decode(errors="replace") if folder.exists(name) else ""

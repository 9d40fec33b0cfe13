"""Folders of ready-made models, wherever they lie: on disk, in an object store, on the model hub.

In: an address: a folder, `s3://bucket/prefix`, or a hub's `organisation/name`, perhaps with
`@revision`. Out: a pinned address, which names the same content to every machine and at any time,
and from that a folder on this machine. What is elsewhere is copied once into a cache. Nothing is
loaded here, and of a hub's repository only what is loaded without pickle is fetched.
"""

import hashlib
import json
import re
import shutil
import uuid
from pathlib import Path

from components.core.errors import ConfigError
from components.core.store import CACHE_FOLDER, Store

WEIGHTS = "*.safetensors"
SETTINGS = ("*.json", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*")
"""What describes a model: configurations, chat templates, the tokenizer's files, its own card."""
HUB = "hf://"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_NOT_READ = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".ot", ".onnx", ".md")


def pin_address(address: str) -> str:
    """Return the address with what its content is: the same one is the same content.

    A folder is returned as its absolute path: its content is the caller's to look at. Raises
    ConfigError when nothing is there, StoreError when a store cannot be listed.
    """
    if (name := _hub_name(address)) is not None:
        # Read anew each time: a branch may have moved on.
        return f"{HUB}{name.partition('@')[0]}@{_snapshot(name, ('config.json',)).name}"
    if "://" in address:
        stamp = _stamp(Store(address), address)
        return f"{address.rstrip('/')}#{stamp}"
    path = Path(address).expanduser()
    if not (path / "config.json").is_file():
        raise ConfigError(
            f"{address} is not a model folder (no config.json); name a folder in the transformers "
            "layout, s3://bucket/prefix, or organisation/name of the model hub"
        )
    return str(path.resolve())


def local_folder(pinned: str, weights: bool = True) -> Path:
    """Return a folder on this machine with a pinned address's files, without weights if asked.

    Processes of one machine that ask at once fetch it once. Raises ConfigError when the content has
    changed since it was pinned, or cannot be fetched; StoreError as the store does.
    """
    if pinned.startswith(HUB):
        name = pinned.removeprefix(HUB)
        folder = _snapshot(name, (*SETTINGS, WEIGHTS) if weights else SETTINGS)
        if weights and not any(folder.glob(WEIGHTS)):
            raise ConfigError(
                f"{name} holds no safetensors, and weights in pickle files are never loaded: name "
                "a revision that holds them (organisation/name@refs/pr/N, often made by the hub's "
                "converter), or convert a copy that you trust and name its folder"
            )
        return folder
    if "://" not in pinned:
        return Path(pinned)
    from filelock import FileLock

    address, _, stamp = pinned.partition("#")
    name = hashlib.sha256(pinned.encode()).hexdigest()[:32]
    target = Path.home() / CACHE_FOLDER / f"{name}{'' if weights else '-settings'}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            _download(address, stamp, target, weights)
    return target


def _download(address: str, stamp: str, target: Path, weights: bool) -> None:
    store = Store(address)
    if _stamp(store, address) != stamp:
        raise ConfigError(f"{address}: changed since the run was planned; start the run again")
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        for name in _files(store):
            if weights or not Path(name).match(WEIGHTS):
                store.download(name, partial / name)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _stamp(store: Store, address: str) -> str:
    """Return what changes when a file below the address does (names, sizes, ETags)."""
    files = _files(store)
    if "config.json" not in files:
        raise ConfigError(
            f"{address}: no model folder (no config.json there); check the address, or copy the "
            "model's folder there"
        )
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _files(store: Store) -> dict[str, tuple[int, str]]:
    stamps = store.stamps("")
    return {name: stamp for name, stamp in stamps.items() if not name.endswith(_NOT_READ)}


def _hub_name(address: str) -> str | None:
    """Return `organisation/name@revision` where the address names a hub's repository."""
    if address.startswith(HUB):
        return address.removeprefix(HUB)
    is_name = _HUB_NAME.fullmatch(address) is not None and not address.startswith(".")
    return address if is_name and not Path(address).exists() else None


def _snapshot(name: str, patterns: tuple[str, ...]) -> Path:
    """Return the folder of a repository in the hub's own cache; its name is the commit's."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError

    repository, _, revision = name.partition("@")
    try:
        folder = snapshot_download(
            repository, revision=revision or None, allow_patterns=list(patterns)
        )
    except (OSError, ValueError, HTTPError) as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise ConfigError(
            f"{name} is no folder here and could not be fetched from the model hub "
            f"({type(error).__name__}: {reason}); check the name, or fetch it where there is a "
            f"network (hf download {repository} --local-dir FOLDER) and name the folder"
        ) from None
    return Path(folder)

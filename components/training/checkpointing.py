"""Training checkpoints: all that going on exactly needs, without pickle, for any number of ranks.

In: an engine that can hand out whole tensors by name. Out: a folder in which each rank wrote one
safetensors file (its share of the whole fp32 weights and Adam moments of the parts that learn)
and, after it, one JSON with the file's size and sha256. Reading needs every rank's pair and checks
every digest, so a checkpoint is complete or refused. Frozen parts are not written: they come from
what the stage started from. The schedule, the random draws and the data position are functions of
the step.

Not here: publishing, which is Ray Train's (`worker.py`), and the finished model folder.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from components.core.errors import CheckpointError

log = logging.getLogger(__name__)

SCHEMA = 1
KINDS = ("weight", "exp_avg", "exp_avg_sq")


class OtherRecipe(CheckpointError):
    """The checkpoint is sound but belongs to another recipe: never passed over, never used."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int
    """Optimizer steps taken."""
    recent_losses: list[float]
    """Losses of the last steps, oldest first."""


class WholeTensors(Protocol):
    """Hands out unsplit fp32 tensors by parameter name; a collective, so all ranks ask alike."""

    def parameter_names(self) -> list[str]:
        """Return the names of the parameters that learn."""
        ...

    def shape(self, name: str) -> torch.Size:
        """Return the unsplit shape of a parameter."""
        ...

    def whole(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of KINDS for one parameter."""
        ...


def write_shard(
    tensors: WholeTensors,
    folder: Path,
    progress: Progress,
    fingerprint: str,
    rank: int,
    world_size: int,
) -> None:
    """Write this rank's share of the state; every rank must call it.

    Memory: one parameter at a time is gathered, and a rank keeps only its own share of them.
    """
    from safetensors.torch import save_file

    owned = _owner_of(tensors, world_size)
    mine: dict[str, Tensor] = {}
    for name in tensors.parameter_names():
        parts = tensors.whole(name)
        if owned[name] == rank:
            mine |= {f"{kind}/{name}": parts[kind].to("cpu").contiguous() for kind in KINDS}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _shard_name(rank, world_size)
    save_file(mine, path)
    manifest = {
        "schema": SCHEMA,
        "step": progress.step,
        "recent_losses": progress.recent_losses,
        "fingerprint": fingerprint,
        "world_size": world_size,
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
    }
    path.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n")


@dataclass(frozen=True)
class SavedState:
    """A verified checkpoint folder: how far the run was, and its tensors, read on demand."""

    folder: Path
    progress: Progress
    file_of: dict[str, str]

    def tensor(self, kind: str, name: str) -> Tensor:
        """Return one whole tensor. Raises CheckpointError when the checkpoint lacks it."""
        from safetensors import safe_open

        key = f"{kind}/{name}"
        if key not in self.file_of:
            raise CheckpointError(
                f"{self.folder}: no {kind} of parameter {name!r}; the checkpoint is of a stage "
                f"that trains other parts; use another run name"
            )
        with safe_open(self.folder / self.file_of[key], framework="pt") as shard:
            return shard.get_tensor(key)

    def load_weights(self, model: torch.nn.Module) -> None:
        """Copy the saved weights into the learning parameters of an unsplit model."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not parameter.requires_grad:
                    continue
                saved = self.tensor("weight", name)
                if saved.shape != parameter.shape:
                    raise CheckpointError(
                        f"{self.folder}: {name} has shape {tuple(saved.shape)}, the model expects "
                        f"{tuple(parameter.shape)}; the checkpoint is of another model"
                    )
                parameter.copy_(saved)


def read(folder: Path, fingerprint: str) -> SavedState:
    """Verify a checkpoint folder and return its contents.

    Raises CheckpointError when a rank's file is missing, cut or altered, and OtherRecipe when the
    checkpoint is not of this recipe.
    """
    from safetensors import safe_open

    manifests = {path.stem: _read_json(path) for path in sorted(folder.glob("rank-*.json"))}
    if not manifests:
        raise CheckpointError(f"{folder}: no rank file; the checkpoint is empty or was cut")
    first = next(iter(manifests.values()))
    expected = [_shard_name(rank, first["world_size"]) for rank in range(first["world_size"])]
    missing = [name for name in expected if Path(name).stem not in manifests]
    if missing:
        raise CheckpointError(f"{folder}: {', '.join(missing)} missing; the checkpoint was cut")
    file_of: dict[str, str] = {}
    for name in expected:
        manifest, path = manifests[Path(name).stem], folder / name
        _check(path, manifest, first, fingerprint)
        with safe_open(path, framework="pt") as shard:
            file_of |= dict.fromkeys(shard.keys(), name)
    return SavedState(folder, Progress(first["step"], first["recent_losses"]), file_of)


def _check(path: Path, manifest: dict, first: dict, fingerprint: str) -> None:
    if manifest["schema"] != SCHEMA:
        raise CheckpointError(f"{path}: schema {manifest['schema']}, this version reads {SCHEMA}")
    if manifest["fingerprint"] != fingerprint:
        raise OtherRecipe(
            f"{path}: made by another recipe (fingerprint {manifest['fingerprint'][:12]}, this one "
            f"has {fingerprint[:12]}); use another run name or storage path"
        )
    if manifest["step"] != first["step"]:
        raise CheckpointError(f"{path}: of step {manifest['step']}, others of {first['step']}")
    if not path.is_file():
        raise CheckpointError(f"{path}: missing")
    size = path.stat().st_size
    if size != manifest["bytes"]:
        raise CheckpointError(f"{path}: {size} bytes, expected {manifest['bytes']}; it was cut")
    if _sha256(path) != manifest["sha256"]:
        raise CheckpointError(f"{path}: sha256 differs from its manifest; the file was altered")


def _owner_of(tensors: WholeTensors, world_size: int) -> dict[str, int]:
    """Give each parameter to the rank that has the fewest elements so far, largest first."""
    loads = [0] * world_size
    owner: dict[str, int] = {}
    names = tensors.parameter_names()
    for name in sorted(names, key=lambda name: (-tensors.shape(name).numel(), name)):
        rank = loads.index(min(loads))
        owner[name] = rank
        loads[rank] += tensors.shape(name).numel()
    return owner


def _shard_name(rank: int, world_size: int) -> str:
    return f"rank-{rank:05d}-of-{world_size:05d}.safetensors"


def _read_json(path: Path) -> dict:
    try:
        manifest = json.loads(path.read_text())
        return {key: manifest[key] for key in _MANIFEST_KEYS}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a complete manifest ({error})") from None


_MANIFEST_KEYS = (
    "schema",
    "step",
    "recent_losses",
    "fingerprint",
    "world_size",
    "bytes",
    "sha256",
)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

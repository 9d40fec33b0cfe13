"""Training checkpoints: all that going on exactly needs, without pickle, for any number of ranks.

In: an engine that hands out the pieces of the state that a rank holds. Out: a folder in which each
rank wrote one safetensors file (its pieces of the fp32 weights and Adam moments of the parts that
learn, by parameter and offset) and, after it, one JSON with the file's size and sha256. Taking the
pieces needs no exchange between ranks; reading puts them together, at any number of ranks. Reading
needs every rank's pair, checks every digest and that no element is missing, so a checkpoint is
complete or refused. Frozen parts are not written: they come from
what the stage started from. The schedule, the random draws and the data position are functions of
the step.

Not here: publishing, which is Ray Train's (`worker.py`), and the finished model folder.
"""

import hashlib
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from components.core.errors import CheckpointError

log = logging.getLogger(__name__)

SCHEMA = 3
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


class OwnPieces(Protocol):
    """Hands out the pieces of the training state that this rank holds."""

    def parameter_names(self) -> list[str]:
        """Return the names of the parameters that learn."""
        ...

    def shape(self, name: str) -> torch.Size:
        """Return the unsplit shape of a parameter."""
        ...

    def piece(self, name: str) -> tuple[int, dict[str, Tensor]] | None:
        """Return (offset in the flattened parameter, flat tensors of KINDS), or None."""
        ...


Copies = dict[int, Tensor]
"""Address of a piece of an engine's memory -> the copy of its bytes on the host."""


@dataclass(frozen=True)
class Snapshot:
    """This rank's pieces of the state at a step, apart from the engine that goes on."""

    progress: Progress
    tensors: dict[str, Tensor]
    """`kind/name@offset` -> a flat copy in the memory of the host."""
    shapes: dict[str, list[int]]
    copies: Copies
    """The memory that `tensors` lie in, for the next snapshot to use."""


def take_snapshot(engine: OwnPieces, progress: Progress, copies: Copies | None = None) -> Snapshot:
    """Copy this rank's pieces; nothing is written, and no other rank is asked.

    Pieces lie in a few large stretches of memory, which are copied whole. `copies` are those of an
    earlier snapshot that is no longer needed: new memory has to be given page by page, which takes
    longer than the copy itself.
    """
    parts: dict[str, Tensor] = {}
    for name in engine.parameter_names():
        held = engine.piece(name)
        if held is not None:
            offset, kinds = held
            parts |= {f"{kind}/{name}@{offset}": kinds[kind].detach() for kind in KINDS}
    old, new = copies or {}, Copies()
    tensors = {key: _copied(part, old, new) for key, part in parts.items()}
    shapes = {name: list(engine.shape(name)) for name in engine.parameter_names()}
    return Snapshot(progress, tensors, shapes, new)


def _copied(part: Tensor, old: Copies, new: Copies) -> Tensor:
    """Return a part's copy within the copy of all the memory that it lies in."""
    storage = part.untyped_storage()
    address = storage.data_ptr()
    if address not in new:
        whole = torch.empty(0, dtype=torch.uint8, device=part.device).set_(storage)
        kept = old.get(address)
        if kept is not None and kept.numel() == whole.numel():
            new[address] = kept.copy_(whole)
        else:
            # A copy even on the CPU: the next step writes into the engine's own memory.
            new[address] = whole.to("cpu", copy=True)
    start, size = part.storage_offset(), part.numel()
    return new[address].view(part.dtype)[start : start + size]


def write_snapshot(
    snapshot: Snapshot, folder: Path, fingerprint: str, rank: int, world_size: int
) -> None:
    """Write this rank's pair of files; the JSON, which vouches for the other, last."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _shard_name(rank, world_size)
    save_file(snapshot.tensors, path)
    manifest = {
        "schema": SCHEMA,
        "step": snapshot.progress.step,
        "recent_losses": snapshot.progress.recent_losses,
        "fingerprint": fingerprint,
        "world_size": world_size,
        "shapes": snapshot.shapes,
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
    }
    manifest["seal"] = _seal(manifest)
    path.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n")


@dataclass(frozen=True)
class SavedState:
    """A verified checkpoint folder: how far the run was, and its tensors, read on demand."""

    folder: Path
    progress: Progress
    shapes: dict[str, list[int]]
    pieces: dict[str, list[tuple[int, str, str]]]
    """`kind/name` -> (offset, file, key in it) of each piece, in order."""

    def tensor(self, kind: str, name: str) -> Tensor:
        """Return one whole tensor. Raises CheckpointError when the checkpoint lacks it."""
        from safetensors import safe_open

        if name not in self.shapes:
            raise CheckpointError(
                f"{self.folder}: no {kind} of parameter {name!r}; the checkpoint is of a stage "
                f"that trains other parts; use another run name"
            )
        parts: list[Tensor] = []
        for _, file, key in self.pieces[f"{kind}/{name}"]:
            with safe_open(self.folder / file, framework="pt") as shard:
                parts.append(shard.get_tensor(key))
        return torch.cat(parts).view(self.shapes[name])

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
    pieces: dict[str, list[tuple[int, str, str]]] = {}
    sizes: dict[str, dict[int, int]] = {}
    for name in expected:
        manifest, path = manifests[Path(name).stem], folder / name
        _check(path, manifest, first, fingerprint)
        with safe_open(path, framework="pt") as shard:
            for key in shard.keys():  # noqa: SIM118, it is no dict
                whole, _, offset = key.rpartition("@")
                pieces.setdefault(whole, []).append((int(offset), name, key))
                (size,) = shard.get_slice(key).get_shape()
                sizes.setdefault(whole, {})[int(offset)] = size
    for name, shape in first["shapes"].items():
        for kind in KINDS:
            _check_pieces(folder, f"{kind}/{name}", math.prod(shape), sizes)
    return SavedState(
        folder,
        Progress(first["step"], first["recent_losses"]),
        first["shapes"],
        {whole: sorted(some) for whole, some in pieces.items()},
    )


def _check_pieces(
    folder: Path, whole: str, num_elements: int, sizes: dict[str, dict[int, int]]
) -> None:
    """Raise CheckpointError unless the pieces lie one behind the other from start to end."""
    end = 0
    for offset, size in sorted(sizes.get(whole, {}).items()):
        if offset != end:
            break
        end += size
    if end != num_elements:
        raise CheckpointError(
            f"{folder}: {whole} is complete up to element {end:,} of {num_elements:,} only; "
            "the checkpoint was cut"
        )


def _check(path: Path, manifest: dict, first: dict, fingerprint: str) -> None:
    if manifest["schema"] != SCHEMA:
        raise CheckpointError(f"{path}: schema {manifest['schema']}, this version reads {SCHEMA}")
    if manifest["fingerprint"] != fingerprint:
        raise OtherRecipe(
            f"{path}: made by another recipe or from other data (fingerprint "
            f"{manifest['fingerprint'][:12]}, this one has {fingerprint[:12]}); "
            "use another run name or storage path"
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


def _shard_name(rank: int, world_size: int) -> str:
    return f"rank-{rank:05d}-of-{world_size:05d}.safetensors"


def _read_json(path: Path) -> dict:
    try:
        manifest = json.loads(path.read_text())
        found = {key: manifest[key] for key in _MANIFEST_KEYS}
        sealed = manifest["seal"] == _seal(found)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a complete manifest ({error!r})") from None
    if not sealed:
        raise CheckpointError(f"{path}: differs from its seal; the file was altered")
    return found


_MANIFEST_KEYS = (
    "schema",
    "step",
    "recent_losses",
    "fingerprint",
    "world_size",
    "shapes",
    "bytes",
    "sha256",
)


def _seal(manifest: dict) -> str:
    """Return the digest of all that a manifest says: an altered step would be gone on from."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

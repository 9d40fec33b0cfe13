"""Whether weights are those of a configuration: every one there, none too many, each in its shape.

In: weights as files name them and a configuration. Out: the weights by their names in memory, in
the model's order, or a CheckpointError naming the first that does not fit. Nothing is read.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PretrainedConfig,
)

from components.core.errors import CheckpointError
from components.model.connector_names import DEFAULT_CONNECTOR
from components.model.connectors import connector_of
from components.model.convert.keys import (
    CONNECTOR,
    HEAD_ROWS,
    Table,
    is_of_connector,
    name_in_memory,
)
from components.model.convert.weights import Piece, Stored


def read_config(folder: Path) -> PretrainedConfig:
    """Return the configuration in a Hugging Face folder, or raise CheckpointError."""
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds for a bad file
        raise CheckpointError(
            f"{folder}: config.json cannot be read ({type(error).__name__}: {error}); "
            "expected a Hugging Face model folder; restore the file"
        ) from error


def read_llava_config(folder: Path) -> LlavaConfig:
    """Return the configuration of a llava-hf folder, ours or the hub's.

    Raises CheckpointError for another model, and for a connector other than LLaVA-1.5's.
    """
    config = read_config(folder)
    if not isinstance(config, LlavaConfig):
        raise CheckpointError(
            f"{folder}: model_type is {config.model_type!r}; expected 'llava' in the layout "
            "of llava-hf"
        )
    if connector_of(config) != DEFAULT_CONNECTOR:
        raise other_connector(folder, connector_of(config))
    if config.projector_hidden_act != "gelu" or not config.multimodal_projector_bias:
        raise other_connector(
            folder,
            f"one with {config.projector_hidden_act} and bias "
            f"{str(config.multimodal_projector_bias).lower()}",
        )
    return config


def in_memory(stored: Mapping[str, Stored], table: Table) -> dict[str, Stored]:
    """Return the weights by their names in memory, without what no model needs.

    Raises CheckpointError when two weights have one name.
    """
    found: dict[str, Stored] = {}
    for key, each in stored.items():
        name = name_in_memory(key, table)
        if name is None:
            continue
        if name in found:
            raise CheckpointError(
                f"{each.path.parent}: {found[name].key} and {key} are the same weight; "
                "the folder mixes two layouts, fetch it again"
            )
        found[name] = each
    return found


def fitting(
    pieces: Mapping[str, Piece], config: LlavaConfig, where: Path, remedy: str
) -> dict[str, Piece]:
    """Return the pieces in the model's order when they are all that it has, in its shapes."""
    shapes = _shapes(config, where)
    if config.tie_word_embeddings and HEAD_ROWS not in pieces:
        del shapes[HEAD_ROWS]  # the embedding's own rows
    extra = [name for name in pieces if name not in shapes]
    missing = [name for name in shapes if name not in pieces]
    if extra:
        key = pieces[extra[0]].stored.key
        if is_of_connector([key]):
            raise other_connector(where, f"one with {key}")
        raise CheckpointError(
            f"{where}: {len(extra)} weights are not of this model, first {key}; {remedy}"
        )
    if missing:
        if missing[0].startswith(CONNECTOR) and any(n.startswith(CONNECTOR) for n in pieces):
            raise other_connector(where, f"one without {missing[0]}")
        raise CheckpointError(
            f"{where}: {len(missing)} weights are missing, first {missing[0]}; {remedy}"
        )
    for name, shape in shapes.items():
        if pieces[name].shape != shape:
            raise CheckpointError(
                f"{where}: {pieces[name].stored.key} has shape {list(pieces[name].shape)}, "
                f"the configuration says {list(shape)}; {remedy}"
            )
    return {name: pieces[name] for name in shapes}


def other_connector(where: Path, found: str) -> CheckpointError:
    """The error for a connector that the other layouts have no place for."""
    return CheckpointError(
        f"{where}: the connector is another than {DEFAULT_CONNECTOR!r}: {found}; only "
        f"{DEFAULT_CONNECTOR!r} (LLaVA-1.5) can be converted"
    )


def _shapes(config: LlavaConfig, where: Path) -> dict[str, tuple[int, ...]]:
    try:
        with torch.device("meta"):  # shapes alone: 7B in a tenth of a second, without memory
            model = LlavaForConditionalGeneration(config)
    except Exception as error:  # modules raise many kinds for values that do not fit
        raise CheckpointError(
            f"{where}: no model can be built of this configuration ({error}); restore config.json"
        ) from error
    return {name: tuple(weight.shape) for name, weight in model.state_dict().items()}

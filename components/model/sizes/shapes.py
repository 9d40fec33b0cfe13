"""The sizes of a LLaVA model, read from config.json alone.

In: the two base folders or one LLaVA folder. Out: `LlavaShapes`: parameters by part, layers,
widths, heads, vocabulary rows, patches. No weight is loaded, nothing heavy imported, no memory or
time estimated (`flops.py`, `components.training.planning.memory`). Reference: the modules of
transformers 5.23, whose parameters the tests count.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.core.errors import CheckpointError, ConfigError
from components.model.connector_names import DEFAULT_CONNECTOR, parse_connector
from components.model.sizes.part_shapes import ConnectorShape, LanguageShape, VisionShape
from components.model.tower import hidden_state
from components.model.vocabulary import NEW_TOKENS, ROW_MULTIPLE

_GATED = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
LANGUAGE_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {**_GATED, "intermediate_size": 11008, "vocab_size": 32000},
    "mistral": {
        **_GATED,
        "intermediate_size": 14336,
        "vocab_size": 32000,
        "num_key_value_heads": 8,
    },
    "qwen2": {
        **_GATED,
        "intermediate_size": 22016,
        "vocab_size": 151936,
        "num_key_value_heads": 32,
    },
    "qwen3": {
        **_GATED,
        "intermediate_size": 22016,
        "vocab_size": 151936,
        "num_key_value_heads": 32,
        "head_dim": 128,
    },
    "phi3": {**_GATED, "hidden_size": 3072, "intermediate_size": 8192, "vocab_size": 32064},
}
"""What a config.json that names only differences leaves out: defaults of transformers' classes."""
_TOWER = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "image_size": 224,
    "num_channels": 3,
}
TOWER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "clip_vision_model": {**_TOWER, "patch_size": 32},
    "siglip_vision_model": {**_TOWER, "patch_size": 16},
}


@dataclass(frozen=True)
class LlavaShapes:
    """The sizes of a whole model."""

    language: LanguageShape
    vision: VisionShape
    connector: ConnectorShape
    feature_layers: tuple[int, ...]
    """Tower layers (1 is the first) whose outputs the connector reads side by side."""
    select: str
    """`default` drops the class token, `full` keeps it."""

    @property
    def features_per_image(self) -> int:
        """Patches of an image that the connector reads."""
        return self.vision.patches + (self.select == "full" and self.vision.has_class_token)

    @property
    def patches_per_image(self) -> int:
        """Positions one image takes in the language model."""
        return self.connector.form.num_positions(self.features_per_image)

    @cached_property
    def parameters(self) -> dict[str, int]:
        """Parameters by part; a tied head has none of its own."""
        language = self.language
        return {
            "vision_tower": self.vision.parameters,
            "connector": self.connector.parameters,
            "language_model_body": language.body,
            "embeddings": language.embeddings,
            "head": 0 if language.tied else language.embeddings,
        }

    @property
    def total(self) -> int:
        """Parameters in all."""
        return sum(self.parameters.values())

    def learning(self, train: Sequence[str]) -> int:
        """Parameters that learn when these parts do (the names of `StageConfig.train`)."""
        parts = self.parameters
        language = parts["language_model_body"] + parts["embeddings"] + parts["head"]
        sizes = {**parts, "language_model": language}
        return sum(sizes[part] for part in train)


def read_shapes(
    vision_tower_path: str | Path,
    language_model_path: str | Path,
    connector: str = DEFAULT_CONNECTOR,
    feature_layer: int = -2,
    select: str = "default",
) -> LlavaShapes:
    """Return the sizes of the model that `build.build_llava` makes of the two folders.

    Raises CheckpointError for an unreadable config.json, ConfigError for a kind of model whose
    sizes are not known here.
    """
    tower = _read(vision_tower_path)
    vision = _vision(tower.get("vision_config") or tower, vision_tower_path)
    values = _read(language_model_path)
    rows = _grown_rows(_language(values, language_model_path).rows, Path(language_model_path))
    language = _language({**values, "vocab_size": rows}, language_model_path)
    return _whole(language, vision, connector, [feature_layer], select)


def read_llava_shapes(llava_path: str | Path) -> LlavaShapes:
    """Return the sizes of the model in a LLaVA folder; raises as `read_shapes`."""
    values = _read(llava_path)
    if "text_config" not in values or "vision_config" not in values:
        raise CheckpointError(
            f"{Path(llava_path) / 'config.json'}: found the configuration of "
            f"{values.get('model_type')!r}, expected a LLaVA folder with text_config and "
            "vision_config; give the two base folders to read_shapes instead"
        )
    text = {"tie_word_embeddings": values.get("tie_word_embeddings", False)}
    language = _language({**text, **values["text_config"]}, llava_path)
    vision = _vision(values["vision_config"], llava_path)
    chosen = values.get("vision_feature_layer", -2)  # the default of LlavaConfig
    layers = [chosen] if isinstance(chosen, int) else list(chosen)
    select = values.get("vision_feature_select_strategy", "default")
    connector = values.get("connector", DEFAULT_CONNECTOR)  # `connectors.connector_of`
    return _whole(language, vision, connector, layers, select)


def _whole(
    language: LanguageShape,
    vision: VisionShape,
    connector: str,
    layers: Sequence[int],
    select: str,
) -> LlavaShapes:
    shape = ConnectorShape(parse_connector(connector), vision.width * len(layers), language.width)
    read = tuple(hidden_state(layer, vision.layers) for layer in layers)
    return LlavaShapes(language, vision, shape, read, select)


def _read(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: the configuration cannot be read ({error}); expected a folder in the "
            "transformers layout; restore it or name another"
        ) from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def _known(
    values: Mapping[str, Any], folder: str | Path, kinds: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Fill in the defaults of the kind, or refuse a kind that is not known."""
    kind = values.get("model_type") or next(iter(kinds))  # LlavaConfig takes the first ones, too
    if kind not in kinds:
        raise ConfigError(
            f"{Path(folder) / 'config.json'}: the sizes of model_type {kind!r} are not known; "
            f"expected one of {', '.join(kinds)}; add it to components/model/sizes/shapes.py"
        )
    return {**kinds[kind], "model_type": kind, **{k: v for k, v in values.items() if v is not None}}


def _language(values: Mapping[str, Any], folder: str | Path) -> LanguageShape:
    known = _known(values, folder, LANGUAGE_DEFAULTS)
    kind, width, heads = known["model_type"], known["hidden_size"], known["num_attention_heads"]
    kv_heads = known.get("num_key_value_heads", heads)
    head_width = known.get("head_dim", width // heads)
    queries, keys = heads * head_width, kv_heads * head_width
    biases = 0
    if kind == "qwen2":
        biases = queries + 2 * keys  # on queries, keys and values alone
    elif kind in ("llama", "qwen3") and known.get("attention_bias"):
        biases = queries + 2 * keys + width
    if kind == "llama" and known.get("mlp_bias"):
        biases += 2 * known["intermediate_size"] + width
    return LanguageShape(
        kind=kind,
        layers=known["num_hidden_layers"],
        width=width,
        ffn_width=known["intermediate_size"],
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        rows=known["vocab_size"],
        tied=bool(known.get("tie_word_embeddings", False)),
        biases=biases,
        head_norms=kind == "qwen3",
    )


def _vision(values: Mapping[str, Any], folder: str | Path) -> VisionShape:
    # A whole CLIP or SigLIP folder names its vision half by these words in older files.
    names = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
    kind = values.get("model_type")
    known = _known({**values, "model_type": names.get(str(kind), kind)}, folder, TOWER_DEFAULTS)
    return VisionShape(
        kind=known["model_type"],
        layers=known["num_hidden_layers"],
        width=known["hidden_size"],
        ffn_width=known["intermediate_size"],
        image_px=known["image_size"],
        patch_px=known["patch_size"],
        channels=known["num_channels"],
        pools=known["model_type"] == "siglip_vision_model" and known.get("vision_use_head", True),
    )


def _grown_rows(rows: int, folder: Path) -> int:
    """Rows once there is room for the new tokens (see `build._make_room`)."""
    num_tokens = _num_tokens(folder / "tokenizer.json", rows)
    if num_tokens <= rows and rows % ROW_MULTIPLE == 0:
        return rows
    return -(-max(num_tokens, rows) // ROW_MULTIPLE) * ROW_MULTIPLE


def _num_tokens(path: Path, rows: int) -> int:
    """Tokens of the tokenizer with the new ones; without its file, as many as rows and the new."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = values["model"]["vocab"]
        pieces = vocabulary if isinstance(vocabulary, dict) else [piece for piece, _ in vocabulary]
        texts = {*pieces, *(token["content"] for token in values.get("added_tokens", ()))}
    except (OSError, ValueError, KeyError, TypeError):
        return rows + len(NEW_TOKENS)  # a SentencePiece file alone, as vicuna-7b-v1.5 has
    return len(texts | set(NEW_TOKENS))

"""The names of a LLaVA's weights in the layouts that are in use, each as a table of prefixes.

In: a weight's name in a file. Out: its name in memory (transformers >= 5), or the reverse. No file
is touched.

Reference: `model.mm_projector` and `model.vision_tower` are set in llava/model/llava_arch.py and
multimodal_encoder/clip_encoder.py (haotian-liu/LLaVA c121f043); the llava-hf names are the left
side of `conversion_mapping.py` ("llava") in transformers 5.23, and llava-hf/llava-1.5-7b-hf's.
"""

from collections.abc import Iterable

LANGUAGE = "model.language_model."
HEAD = "lm_head."
CONNECTOR = "model.multi_modal_projector."
TOWER = "model.vision_tower."

EMBEDDING_ROWS = f"{LANGUAGE}embed_tokens.weight"
HEAD_ROWS = f"{HEAD}weight"
VOCABULARY = (EMBEDDING_ROWS, HEAD_ROWS)
"""The two tables with a row for each token."""

Table = tuple[tuple[str, str], ...]
"""(prefix in the file, prefix in memory), the first that matches counts."""

ORIGINAL_CONNECTOR: Table = (
    ("model.mm_projector.0.", f"{CONNECTOR}linear_1."),
    ("model.mm_projector.2.", f"{CONNECTOR}linear_2."),
)
LANGUAGE_MODEL: Table = (("lm_head.", HEAD), ("model.", LANGUAGE))
"""A language model of its own, as `--language-model` names one."""
ORIGINAL: Table = (
    *ORIGINAL_CONNECTOR,
    ("model.vision_tower.vision_tower.vision_model.", TOWER),
    *LANGUAGE_MODEL,
)
TOWER_FOLDER: Table = (("vision_model.", TOWER), ("", TOWER))
"""CLIP or SigLIP alone; transformers < 5 nests it in `vision_model`."""

_LLAVA_HF: Table = (
    ("language_model.lm_head.", HEAD),
    ("language_model.model.", LANGUAGE),
    ("multi_modal_projector.", CONNECTOR),
)
PUBLISHED: Table = (*_LLAVA_HF, ("vision_tower.vision_model.", TOWER))
"""As on the hub. Towers other than CLIP and SigLIP have no inner `vision_model` (see `SAVED`)."""
SAVED: Table = (*_LLAVA_HF, ("vision_tower.", TOWER))
"""As transformers 5.23 saves a model that was assembled from its parts."""
ANY_LLAVA_HF: Table = (
    *PUBLISHED,
    *SAVED,
    (f"{TOWER}vision_model.", TOWER),
    # As in memory: some releases between 4.52 and 5 wrote these.
    *((prefix, prefix) for prefix in (LANGUAGE, HEAD, CONNECTOR, TOWER)),
)
"""All that transformers 5.23 reads as a LLaVA."""

WRAPPED_TOWERS = ("clip_vision_model", "siglip_vision_model")
"""Towers whose published weights lie in an inner `vision_model`."""

_COMPUTED = ("inv_freq", "position_ids")
"""Last parts of buffers that older transformers wrote; the model computes them itself."""
_UNUSED = ("model.image_newline",)
"""Only LLaVA-1.6 reads it; the llava-hf conversion drops it too."""
_TEXT_TOWER = ("text_model.", "text_projection.", "visual_projection.", "logit_")
"""The other half of a whole CLIP or SigLIP folder."""


def name_in_memory(key: str, table: Table) -> str | None:
    """Return the weight's name in memory; None for what no model needs.

    A name that the table does not know is returned as it is: it then fits no weight, and is found.
    """
    if key.endswith(_COMPUTED) or key in _UNUSED:
        return None
    if table is TOWER_FOLDER and key.startswith(_TEXT_TOWER):
        return None
    for prefix, target in table:
        if key.startswith(prefix):
            return target + key.removeprefix(prefix)
    return key


def name_in_file(name: str, table: Table) -> str:
    """Return the name in the file of a weight in memory; the table must have a place for it."""
    for prefix, target in table:
        if name.startswith(target):
            return prefix + name.removeprefix(target)
    raise KeyError(name)


def published_table(tower_kind: str) -> Table:
    """Return the llava-hf names for a tower of this `model_type`."""
    return PUBLISHED if tower_kind in WRAPPED_TOWERS else SAVED


def is_of_connector(keys: Iterable[str]) -> bool:
    """Whether one of the names belongs to a connector, of whatever kind."""
    return any("mm_projector" in key or "multi_modal_projector" in key for key in keys)

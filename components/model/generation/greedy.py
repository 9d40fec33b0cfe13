"""Greedy decoding with a key-value cache, in batches; serving takes its steps one by one.

In: prompts as token ids (one image token per image, as `components.data.tokens` gives them) and
uint8 images, or what the connector made of them. Out: the new token ids, without the end token.
Batched answers equal those given one by one; what prompts of a batch share is computed once. It
does not tokenise, render or decode text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import Cache, LlavaForConditionalGeneration

from components.core.errors import DataError
from components.model.embed import image_embeddings
from components.model.generation.kv_cache import empty_cache, holds_every_position
from components.model.generation.prefix_sharing import Level, share

if TYPE_CHECKING:
    from components.model.checkpoint import Loaded

# Shapes: B prompts, G pieces of prompts, S positions (left padded), D model width, N distinct
# images, P patches, V vocabulary rows

_DROPPED_SHARE = 1 / 8
"""Rows that are done leave the batch when they are so many of it: each time, what the others have
seen is copied. Measured on descriptions of 37 to 151 tokens, 24 in a batch."""


@torch.inference_mode()
def generate_greedy(
    loaded: "Loaded",
    prompts_ids: Sequence[Sequence[int]],
    images: Sequence[Tensor | None],
    max_new_tokens: int,
) -> list[list[int]]:
    """Return for each prompt the greedily chosen ids up to the end token, which is not included.

    `images` are what `embed_distinct` made of the images, so that one which several prompts share
    goes through the tower once. Rows that are done leave the batch. Raises DataError when a
    prompt's image tokens and images disagree.
    """
    if not prompts_ids:
        return []
    model = loaded.model
    hidden_BD, cache, mask_BS = prefill(loaded, prompts_ids, images)
    answers: list[list[int]] = [[] for _ in prompts_ids]
    rows = list(range(len(prompts_ids)))  # the prompt of each row of the batch
    done: set[int] = set()
    for step in range(max_new_tokens):
        chosen = model.lm_head(hidden_BD).argmax(-1).tolist()
        for prompt, token in zip(rows, chosen, strict=True):
            if token == loaded.eos_token_id:
                done.add(prompt)
            elif prompt not in done:
                answers[prompt].append(token)
        keep = [row for row, prompt in enumerate(rows) if prompt not in done]
        if not keep or step == max_new_tokens - 1:
            break
        if len(rows) - len(keep) >= _DROPPED_SHARE * len(rows):
            kept = torch.tensor(keep, device=mask_BS.device)
            cache.batch_select_indices(kept)
            mask_BS = mask_BS[kept]
            rows, chosen = [rows[row] for row in keep], [chosen[row] for row in keep]
        hidden_BD, mask_BS = advance(model, chosen, cache, mask_BS)
    return answers


def prefill(
    loaded: "Loaded", prompts_ids: Sequence[Sequence[int]], images: Sequence[Tensor | None]
) -> tuple[Tensor, Cache, Tensor]:
    """Run the prompts; return last hidden states [B, D], the cache and the mask [B, S].

    `images` are embedded images [P, D]; one and the same tensor is one and the same image.
    """
    if len(images) != len(prompts_ids):
        raise DataError(
            f"{len(prompts_ids)} prompts but {len(images)} entries in images; "
            "pass None for no image"
        )
    distinct: dict[int, Tensor] = {id(image): image for image in images if image is not None}
    places = {name: place for place, name in enumerate(distinct)}
    labels = [None if image is None else places[id(image)] for image in images]
    rows = [
        _expand(ids, label, loaded, where)
        for where, (ids, label) in enumerate(zip(prompts_ids, labels, strict=True))
    ]
    cache = empty_cache(loaded.model.config.text_config)
    if holds_every_position(cache):
        levels = share(rows, labels)
    else:
        levels = [Level(tuple(rows), (0,) * len(rows))]
    image_QD = torch.cat(list(distinct.values())) if distinct else None
    mask_GS: Tensor | None = None
    for level in levels:
        hidden_GD, mask_GS = _run(loaded, level, image_QD, cache, mask_GS)
    return hidden_GD, cache, mask_GS


def advance(
    model: LlavaForConditionalGeneration, tokens: list[int], cache: Cache, mask_BS: Tensor
) -> tuple[Tensor, Tensor]:
    """Feed one token per row; return the new last hidden states [B, D] and the longer mask."""
    ids_B1 = torch.tensor(tokens, device=mask_BS.device).unsqueeze(-1)
    position_B1 = mask_BS.sum(-1, keepdim=True)
    mask_BS = torch.cat([mask_BS, mask_BS.new_ones((len(tokens), 1))], dim=-1)
    hidden_B1D = model.model.language_model(
        inputs_embeds=model.get_input_embeddings()(ids_B1),
        attention_mask=mask_BS.long(),
        position_ids=position_B1,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden_B1D[:, 0], mask_BS


@torch.inference_mode()
def embed_distinct(loaded: "Loaded", pixels: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return connector outputs [P, D], equal images computed once and given as one tensor."""
    index: dict[bytes, int] = {}
    distinct: list[Tensor] = []
    order: list[int | None] = []
    for image in pixels:
        if image is None:
            order.append(None)
            continue
        content = image.contiguous().cpu().numpy().tobytes()
        if content not in index:
            index[content] = len(distinct)
            distinct.append(image)
        order.append(index[content])
    if not distinct:
        return [None] * len(order)
    stacked = torch.stack(distinct).to(loaded.model.lm_head.weight.device)
    images = list(image_embeddings(loaded.model, stacked, loaded.image_spec))
    return [None if place is None else images[place] for place in order]


def _run(
    loaded: "Loaded",
    level: Level,
    image_QD: Tensor | None,
    cache: Cache,
    mask_before: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run a level's pieces behind what they continue; return last hidden states [G, D], mask."""
    model = loaded.model
    device = model.lm_head.weight.device
    longest = max(map(len, level.pieces))
    pad = [longest - len(piece) for piece in level.pieces]
    padded = [
        [loaded.pad_token_id] * p + list(row) for p, row in zip(pad, level.pieces, strict=True)
    ]
    keys_GS = torch.tensor(padded, device=device)
    mask_GS = torch.arange(longest, device=device) >= torch.tensor(pad, device=device).unsqueeze(-1)
    if mask_before is not None:
        parents = torch.tensor(level.parents, device=device)
        cache.batch_select_indices(parents)
        mask_GS = torch.cat([mask_before[parents], mask_GS], dim=-1)
    token_GSD = model.get_input_embeddings()(keys_GS.clamp(min=0))
    if image_QD is not None:
        at_K = (keys_GS < 0).flatten().nonzero().squeeze(1)
        patch_KD = image_QD[-1 - keys_GS.flatten()[at_K]].to(token_GSD.dtype)
        token_GSD.flatten(0, 1).index_copy_(0, at_K, patch_KD)
    hidden_GSD = model.model.language_model(
        inputs_embeds=token_GSD,
        attention_mask=mask_GS.long(),
        position_ids=(mask_GS.long().cumsum(-1) - 1)[:, -longest:].clamp(min=0),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden_GSD[:, -1], mask_GS


def _expand(ids: Sequence[int], label: int | None, loaded: "Loaded", where: int) -> list[int]:
    """Replace the image token (alone, or once per patch) by a key for each patch of the image:
    -1 for the first patch of image 0, downwards.
    """
    patches = loaded.patches_per_image
    num_tokens = sum(token == loaded.image_token_id for token in ids)
    has_image = label is not None
    if num_tokens not in ((1, patches) if has_image else (0,)):
        expected = f"1 (or {patches}, one per patch)" if has_image else "none, as no image is given"
        raise DataError(f"prompt {where}: {num_tokens} image tokens; expected {expected}")
    if label is None:
        return list(ids)
    keys = range(-1 - label * patches, -1 - (label + 1) * patches, -1)
    if num_tokens == 1:
        at = list(ids).index(loaded.image_token_id)
        return [*ids[:at], *keys, *ids[at + 1 :]]
    patch = iter(keys)
    return [next(patch) if token == loaded.image_token_id else token for token in ids]

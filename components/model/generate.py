"""Greedy decoding with a key-value cache: batched for evaluation, one by one for serving.

In: prompts as token ids (one image token per picture, as `components.data.tokens` gives them) and
uint8 pictures. Out: the new token ids, without the end token. Batched answers equal those given one
by one. It does not tokenise, render or decode text.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache, LlavaForConditionalGeneration

from components.core.errors import DataError
from components.model.embed import image_embeddings, splice

if TYPE_CHECKING:
    from components.model.checkpoint import Loaded

# Shapes: B prompts, S positions (left padded), D model width, N distinct pictures, V vocabulary
# rows


@torch.inference_mode()
def generate_greedy(
    loaded: "Loaded",
    prompts_ids: Sequence[Sequence[int]],
    pixels: Sequence[Tensor | None],
    max_new_tokens: int,
    stop_ids: Sequence[int] | None = None,
) -> list[list[int]]:
    """Return for each prompt the greedily chosen ids, up to a stop id (default: the end token, not
    included).

    A picture that several prompts share goes through the tower once. Rows that are done leave the
    batch. Raises DataError when a prompt's image tokens and pictures disagree.
    """
    if not prompts_ids:
        return []
    model, stops = loaded.model, _stops(loaded, stop_ids)
    hidden_BD, cache, mask_BS = prefill(loaded, prompts_ids, pixels)
    answers: list[list[int]] = [[] for _ in prompts_ids]
    active = list(range(len(prompts_ids)))  # the prompt of each row that is still in the batch
    for step in range(max_new_tokens):
        chosen = model.lm_head(hidden_BD).argmax(-1).tolist()
        keep = []
        for row, token in enumerate(chosen):
            if token not in stops:
                answers[active[row]].append(token)
                keep.append(row)
        if not keep or step == max_new_tokens - 1:
            break
        if len(keep) < len(active):
            rows = torch.tensor(keep, device=mask_BS.device)
            cache.batch_select_indices(rows)
            mask_BS = mask_BS[rows]
            active = [active[row] for row in keep]
        tokens = [chosen[row] for row in keep]
        hidden_BD, mask_BS = advance(model, tokens, cache, mask_BS)
    return answers


@torch.inference_mode()
def stream_greedy(
    loaded: "Loaded",
    prompt_ids: Sequence[int],
    pixels: Tensor | None,
    max_new_tokens: int,
    stop_ids: Sequence[int] | None = None,
) -> Iterator[int]:
    """Yield the same ids as `generate_greedy` for one prompt, each as soon as it is known."""
    stops = _stops(loaded, stop_ids)
    with torch.inference_mode():
        hidden_BD, cache, mask_BS = prefill(loaded, [prompt_ids], [pixels])
    for step in range(max_new_tokens):
        with torch.inference_mode():
            token = int(loaded.model.lm_head(hidden_BD).argmax(-1))
        if token in stops:
            return
        yield token
        if step < max_new_tokens - 1:
            with torch.inference_mode():
                hidden_BD, mask_BS = advance(loaded.model, [token], cache, mask_BS)


def prefill(
    loaded: "Loaded", prompts_ids: Sequence[Sequence[int]], pixels: Sequence[Tensor | None]
) -> tuple[Tensor, DynamicCache, Tensor]:
    """Run the prompts; return last hidden states [B, D], the cache and the mask [B, S]."""
    model = loaded.model
    device = model.lm_head.weight.device
    if len(pixels) != len(prompts_ids):
        raise DataError(
            f"{len(prompts_ids)} prompts but {len(pixels)} entries in pixels; "
            "pass None for no image"
        )
    rows = [
        _expand(ids, image is not None, loaded, where)
        for where, (ids, image) in enumerate(zip(prompts_ids, pixels, strict=True))
    ]
    longest = max(len(row) for row in rows)
    pad = [longest - len(row) for row in rows]
    padded = [[loaded.pad_token_id] * p + row for p, row in zip(pad, rows, strict=True)]
    ids_BS = torch.tensor(padded, device=device)
    mask_BS = torch.arange(longest, device=device) >= torch.tensor(pad, device=device).unsqueeze(-1)
    token_BSD = splice(model, ids_BS, _embed_distinct(loaded, pixels, device))
    cache = DynamicCache(config=model.config.text_config)
    hidden_BSD = model.model.language_model(
        inputs_embeds=token_BSD,
        attention_mask=mask_BS.long(),
        position_ids=(mask_BS.long().cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden_BSD[:, -1], cache, mask_BS


def advance(
    model: LlavaForConditionalGeneration, tokens: list[int], cache: DynamicCache, mask_BS: Tensor
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


def _embed_distinct(
    loaded: "Loaded", pixels: Sequence[Tensor | None], device: torch.device
) -> Tensor | None:
    """Return connector outputs [images of the batch, P, D], computing equal pictures once."""
    index: dict[bytes, int] = {}
    distinct: list[Tensor] = []
    order: list[int] = []
    for image in pixels:
        if image is None:
            continue
        content = image.contiguous().cpu().numpy().tobytes()
        if content not in index:
            index[content] = len(distinct)
            distinct.append(image)
        order.append(index[content])
    if not distinct:
        return None
    stacked = torch.stack(distinct).to(device)
    image_NPD = image_embeddings(loaded.model, stacked, loaded.image_spec)
    return image_NPD[torch.tensor(order, device=device)]


def _expand(ids: Sequence[int], has_image: bool, loaded: "Loaded", where: int) -> list[int]:
    """Repeat the one image token once per patch; leave ids that are already repeated."""
    num_tokens = sum(token == loaded.image_token_id for token in ids)
    patches = loaded.patches_per_image
    if num_tokens not in ((1, patches) if has_image else (0,)):
        expected = (
            f"1 (or {patches}, one per patch)" if has_image else "none, as no picture is given"
        )
        raise DataError(f"prompt {where}: {num_tokens} image tokens; expected {expected}")
    if num_tokens != 1:
        return list(ids)
    at = list(ids).index(loaded.image_token_id)
    return [*ids[:at], *[loaded.image_token_id] * patches, *ids[at + 1 :]]


def _stops(loaded: "Loaded", stop_ids: Sequence[int] | None) -> frozenset[int]:
    return frozenset((loaded.eos_token_id,) if stop_ids is None else stop_ids)

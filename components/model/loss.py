"""The training loss of a batch: next-token cross-entropy over the supervised positions only.

In: a model and a batch (`input_ids` with image tokens repeated per patch, `labels` with
IGNORE_INDEX, `attention_mask`, uint8 `pixels`). Out: the loss and the number of tokens in it. No
optimizer, no engine. Nothing is computed for padding: the rows are laid end to end before the first
matrix product (see `attention.py`). The output head runs on supervised positions only: with 576
image positions and a 32,000-row head most of the logits would otherwise be computed for nothing.
Reference: LLaVA (arXiv 2310.03744), mean over all supervised tokens of the batch.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from components.core.errors import DataError
from components.data.tokens import IGNORE_INDEX
from components.model.attention.norms import fuse_norms
from components.model.attention.packed import NO_MASK, attend_packed, packed_rows
from components.model.embed import image_embeddings, splice
from components.model.transfer import sent

if TYPE_CHECKING:
    from components.data.config import ImageSpec

# Shapes: B rows, S positions, T tokens of all rows, D model width, K supervised ones, N images


class LossOutput(NamedTuple):
    """`loss` is the mean over the batch's supervised tokens, `loss_sum` their sum (for exact
    accumulation), `row_sums` the same by row, [B], without a graph.
    """

    loss: Tensor
    loss_sum: Tensor
    num_supervised_tokens: int
    row_sums: Tensor


class LossModel(nn.Module):
    """A LLaVA model whose forward is the loss: what a DeepSpeed engine wraps, so that its hooks see
    one call.

    The model is set up for packed rows. A kind of language model that cannot be packed is trained
    on padded rows, with the same result.
    """

    runs_tower_for_text: bool = False
    """Send a black image through tower and connector where a batch shows none. Under ZeRO-3 every
    rank must run the same modules in the same order; anywhere else it would be work for nothing.
    """

    def __init__(self, llava: LlavaForConditionalGeneration, image_spec: "ImageSpec") -> None:
        super().__init__()
        self.llava = llava
        self.image_spec = image_spec
        self.packs = attend_packed(llava.model.language_model)
        fuse_norms(llava.model.language_model)

    def forward(
        self, input_ids: Tensor, labels: Tensor, attention_mask: Tensor, pixels: Tensor | None
    ) -> LossOutput:
        """Return the loss of the batch, on the device of the model.

        A batch that is still on the CPU need not wait for that device: what is counted and looked
        for in it is found where it lies.
        """
        device = self.llava.device
        # Position s predicts token s + 1; the first token of a row is never predicted.
        next_BS = functional.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)
        has_image_B = (input_ids == self.llava.config.image_token_id).any(dim=1)
        pixels_NCHW = _used_pixels(pixels, has_image_B)
        if self.packs:
            rows = packed_rows(attention_mask.sum(dim=1).tolist(), device)
            at_T = attention_mask.flatten().nonzero().squeeze(1)
            token_1TD = self._embed(input_ids.flatten()[at_T].unsqueeze(0), pixels_NCHW)
            hidden_1TD = self.llava.model.language_model(
                inputs_embeds=functional.pad(token_1TD, (0, 0, 0, rows.num_filler)),
                attention_mask=NO_MASK,
                position_ids=rows.positions.unsqueeze(0),
                use_cache=False,
                packed_rows=rows,
            ).last_hidden_state
            hidden_TD, next_T = hidden_1TD[0, : len(at_T)], next_BS.flatten()[at_T]
            row_T = at_T // input_ids.shape[1]
        else:
            hidden_BSD = self.llava.model.language_model(
                inputs_embeds=self._embed(input_ids, pixels_NCHW),
                attention_mask=sent(attention_mask, device),
                use_cache=False,
            ).last_hidden_state
            hidden_TD, next_T = hidden_BSD.flatten(0, 1), next_BS.flatten()
            row_T = torch.arange(len(next_T), device=next_T.device) // input_ids.shape[1]
        row_sums_B = torch.zeros(len(input_ids), device=device)
        supervised_K = (next_T != IGNORE_INDEX).nonzero().squeeze(1)
        if len(supervised_K) == 0:
            zero = hidden_TD.sum() * 0.0  # keeps the graph, so that every rank runs a backward
            return LossOutput(zero, zero, 0, row_sums_B)
        next_K, row_K = (sent(of_T[supervised_K], device) for of_T in (next_T, row_T))
        hidden_KD = hidden_TD.index_select(0, sent(supervised_K, device))
        logits_KV = self.llava.lm_head(hidden_KD)
        loss_K = functional.cross_entropy(logits_KV.float(), next_K, reduction="none")
        row_sums_B.index_add_(0, row_K, loss_K.detach())
        loss_sum = loss_K.sum()
        return LossOutput(loss_sum / len(supervised_K), loss_sum, len(supervised_K), row_sums_B)

    def _embed(self, ids_BS: Tensor, pixels_NCHW: Tensor | None) -> Tensor:
        """Return the input embeddings [B, S, D], images in their places."""
        llava = self.llava
        if pixels_NCHW is not None:
            pixels_NCHW = sent(pixels_NCHW, llava.device)
            return splice(llava, ids_BS, image_embeddings(llava, pixels_NCHW, self.image_spec))
        token_BSD = splice(llava, ids_BS, None)
        if not self.runs_tower_for_text:
            # Learning parameters get a gradient of zero: every rank has the same ones to reduce.
            parts = (llava.model.multi_modal_projector, llava.model.vision_tower)
            learning = [p for part in parts for p in part.parameters() if p.requires_grad]
            return token_BSD + 0.0 * sum(p.sum() for p in learning) if learning else token_BSD
        size = llava.config.vision_config.image_size
        black = torch.zeros((1, 3, size, size), dtype=torch.uint8, device=llava.device)
        dummy_NPD = image_embeddings(llava, black, self.image_spec)
        return token_BSD + 0.0 * dummy_NPD.sum()


def _used_pixels(pixels: Tensor | None, has_image_B: Tensor) -> Tensor | None:
    """Return the images of rows that show one, [N, 3, H, W], or None for a text-only batch."""
    num_images = int(has_image_B.sum())
    if num_images == 0:
        return None
    if pixels is not None and len(pixels) == num_images:
        return pixels
    if pixels is not None and len(pixels) == len(has_image_B):
        return pixels[has_image_B]
    found = 0 if pixels is None else len(pixels)
    raise DataError(f"{num_images} rows of the batch have image tokens but it holds {found} images")

"""The training loss of a batch: next-token cross-entropy over the supervised positions only.

In: a model and a batch (`input_ids` with image tokens repeated per patch, `labels` with
IGNORE_INDEX, `attention_mask`, uint8 `pixels`). Out: the loss and the number of tokens in it. No
optimizer, no engine. The output head runs on supervised positions only: with 576 image positions
and a 32,000-row head most of the logits would otherwise be computed for nothing. Reference: LLaVA
(arXiv 2310.03744), mean over all supervised tokens of the batch.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from components.core.errors import DataError
from components.data.images import ImageSpec
from components.model.embed import image_embeddings, splice

IGNORE_INDEX = -100
"""The label of a position that is not supervised (the default of torch's cross-entropy)."""

# Shapes: B rows, S positions, D model width, K supervised positions, N pictures


class TrainingBatch(Protocol):
    """What the loss reads of a batch; `pixels` holds one picture per row that has one, or one per
    row.
    """

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    pixels: Tensor | None


class LossOutput(NamedTuple):
    """`loss` is the mean over the batch's supervised tokens, `loss_sum` their sum (for exact
    accumulation).
    """

    loss: Tensor
    loss_sum: Tensor
    num_supervised_tokens: int


class LossModel(nn.Module):
    """A LLaVA model whose forward is the loss: what a DeepSpeed engine wraps, so that its hooks see
    one call.
    """

    def __init__(self, llava: LlavaForConditionalGeneration, image_spec: ImageSpec) -> None:
        super().__init__()
        self.llava = llava
        self.image_spec = image_spec

    def forward(
        self, input_ids: Tensor, labels: Tensor, attention_mask: Tensor, pixels: Tensor | None
    ) -> LossOutput:
        """Return the loss of the batch, on the device of the model."""
        hidden_BSD = self._hidden(input_ids, attention_mask, pixels)
        # Position s predicts token s + 1; the first token is never predicted.
        supervised_BS = labels[:, 1:] != IGNORE_INDEX
        targets_K = labels[:, 1:][supervised_BS]
        num_tokens = targets_K.numel()
        if num_tokens == 0:
            zero = hidden_BSD.sum() * 0.0  # keeps the graph, so that every rank runs a backward
            return LossOutput(zero, zero, 0)
        logits_KV = self.llava.lm_head(hidden_BSD[:, :-1][supervised_BS])
        loss_sum = functional.cross_entropy(logits_KV.float(), targets_K, reduction="sum")
        return LossOutput(loss_sum / num_tokens, loss_sum, num_tokens)

    def _hidden(self, ids_BS: Tensor, mask_BS: Tensor, pixels: Tensor | None) -> Tensor:
        llava = self.llava
        has_image_B = (ids_BS == llava.config.image_token_id).any(dim=1)
        pixels_NCHW = _used_pixels(pixels, has_image_B)
        if pixels_NCHW is not None:
            token_BSD = splice(llava, ids_BS, image_embeddings(llava, pixels_NCHW, self.image_spec))
        else:
            # Under ZeRO-3 every rank must run the same modules in the same order, so a text-only
            # batch sends one black picture through tower and connector and adds nothing of it.
            size = llava.config.vision_config.image_size
            black = torch.zeros((1, 3, size, size), dtype=torch.uint8, device=ids_BS.device)
            dummy_NPD = image_embeddings(llava, black, self.image_spec)
            token_BSD = splice(llava, ids_BS, None) + 0.0 * dummy_NPD.sum()
        return llava.model.language_model(
            inputs_embeds=token_BSD, attention_mask=mask_BS, use_cache=False
        ).last_hidden_state


def compute_loss(model: Any, batch: TrainingBatch | Mapping[str, Any]) -> LossOutput:
    """Return the loss of a batch through a `LossModel`, or through the engine that wraps one.

    The batch's tensors are moved to the device of the model's parameters.
    """
    names = ("input_ids", "labels", "attention_mask", "pixels")
    get = batch.get if isinstance(batch, Mapping) else lambda name: getattr(batch, name)
    device = getattr(model, "device", None) or next(model.parameters()).device
    tensors = {name: get(name) for name in names}
    return model(
        **{n: t if t is None else t.to(device, non_blocking=True) for n, t in tensors.items()}
    )


def _used_pixels(pixels: Tensor | None, has_image_B: Tensor) -> Tensor | None:
    """Return the pictures of rows that show one, [N, 3, H, W], or None for a text-only batch."""
    num_images = int(has_image_B.sum())
    if num_images == 0:
        return None
    if pixels is not None and len(pixels) == num_images:
        return pixels
    if pixels is not None and len(pixels) == len(has_image_B):
        return pixels[has_image_B]
    found = 0 if pixels is None else len(pixels)
    raise DataError(
        f"{num_images} rows of the batch have image tokens but it holds {found} pictures"
    )

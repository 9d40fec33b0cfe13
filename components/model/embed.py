"""From uint8 pixels and token ids to the language model's input embeddings.

In: uint8 images at the model's size, ids in which every image token is already repeated once per
patch. Out: embeddings [B, S, D]. Used by the loss and by generation alike. It does not resize or
decode images.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration
from transformers.models.clip.modeling_clip import CLIPVisionModel
from transformers.models.siglip.modeling_siglip import SiglipVisionModel

from components.core.errors import DataError
from components.model.tower import hidden_state
from components.model.transfer import sent

if TYPE_CHECKING:
    from components.data.config import ImageSpec

# Shapes: N images, P patches, V vision width, D model width, B rows, S positions,
# K image positions, T positions of all rows


def normalise_pixels(pixels_NCHW: Tensor, spec: "ImageSpec", dtype: torch.dtype) -> Tensor:
    """Return float pixels ((x / 255 - mean) / std) on the device of the uint8 input."""
    device = pixels_NCHW.device
    # One multiply-add on the device: a quarter of the bytes travel compared with float pixels.
    mean = sent(torch.tensor(spec.mean), device).view(-1, 1, 1)
    std = sent(torch.tensor(spec.std), device).view(-1, 1, 1)
    return ((pixels_NCHW.float() - 255.0 * mean) / (255.0 * std)).to(dtype)


def image_embeddings(
    model: LlavaForConditionalGeneration, pixels_NCHW: Tensor, spec: "ImageSpec"
) -> Tensor:
    """Return connector outputs [N, P, D] of uint8 images; behind a resampler P is its queries.

    The tower runs without gradients unless one of its parameters learns, and only as far as the
    layer that is read: the layers after it cannot change the result.
    """
    tower = model.model.vision_tower
    learns = any(parameter.requires_grad for parameter in tower.parameters())
    with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
        patches_NPV = _tower_features(model, normalise_pixels(pixels_NCHW, spec, tower.dtype))
    return model.model.multi_modal_projector(patches_NPV)


def splice(
    model: LlavaForConditionalGeneration, ids_BS: Tensor, image_NPD: Tensor | None
) -> Tensor:
    """Return token embeddings [B, S, D] with the image positions filled, images in reading order.

    `ids_BS` may still be on the CPU. Raises DataError when the number of image positions is not N
    times P.
    """
    at_K = (ids_BS == model.config.image_token_id).flatten().nonzero().squeeze(1)
    num_features = 0 if image_NPD is None else image_NPD.shape[0] * image_NPD.shape[1]
    if len(at_K) != num_features:
        raise DataError(
            f"the batch has {len(at_K)} image positions but its images give {num_features} "
            "patches; "
            "expected one image per image token, each token repeated once per patch"
        )
    token_BSD = model.get_input_embeddings()(sent(ids_BS, model.device))
    if image_NPD is None:
        return token_BSD
    flat_KD = image_NPD.flatten(0, 1).to(token_BSD.dtype)
    spliced_TD = token_BSD.flatten(0, 1).index_copy(0, sent(at_K, model.device), flat_KD)
    return spliced_TD.view_as(token_BSD)


def _tower_features(model: LlavaForConditionalGeneration, pixels_NCHW: Tensor) -> Tensor:
    """Return the selected hidden states [N, P, V] of the tower."""
    tower, layer = model.model.vision_tower, model.config.vision_feature_layer
    if isinstance(tower, CLIPVisionModel | SiglipVisionModel) and isinstance(layer, int):
        hidden_NPV = tower.embeddings(pixels_NCHW)
        if isinstance(tower, CLIPVisionModel):  # SigLIP has no norm before its layers
            hidden_NPV = tower.pre_layrnorm(hidden_NPV)
        layers = tower.encoder.layers
        for block in layers[: hidden_state(layer, len(layers))]:
            hidden_NPV = block(hidden_NPV, attention_mask=None)
    else:
        output = tower(pixels_NCHW, output_hidden_states=True, return_dict=True)
        chosen = [layer] if isinstance(layer, int) else layer
        hidden_NPV = torch.cat([output.hidden_states[index] for index in chosen], dim=-1)
    if model.config.vision_feature_select_strategy == "default":
        return hidden_NPV[:, 1:]
    return hidden_NPV

"""What stands in a model folder, to be compared or changed by the tests beside this file."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlavaForConditionalGeneration

from components.model.convert.export import Layout

LAYOUTS: tuple[Layout, ...] = ("original", "llava-hf")
CLIP = "model.vision_tower.vision_tower.vision_model."
ROWS = 328
"""Tokens of the tiny language model of `tests/model/conftest.py`."""

Foreign = Callable[[Layout], Path]
"""Writes a folder in a layout, with nothing of ours in it."""


def bits(folder: Path) -> dict[str, tuple[torch.dtype, list[int], bytes]]:
    """Every tensor's dtype, shape and bytes."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 -- safe_open is no mapping
                tensor = opened.get_tensor(key)
                raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
                found[key] = (tensor.dtype, list(tensor.shape), raw)
    return found


def small_files(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.suffix != ".safetensors"
    }


def logits(model: LlavaForConditionalGeneration) -> Tensor:
    """Logits of the base's tokens for a prompt with an image."""
    image = model.config.image_token_id
    ids = torch.tensor([[1, 270, image, image, image, image, 271]])
    pixels = torch.linspace(-1, 1, 3 * 28 * 28).view(1, 3, 28, 28)
    with torch.inference_mode():
        return model(input_ids=ids, pixel_values=pixels).logits[..., :ROWS]


def write(folder: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_language_model(like: Path, folder: Path, **changes: object) -> Path:
    """Write a language model of new weights whose configuration differs in these fields."""
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)
    LlamaForCausalLM(LlamaConfig.from_pretrained(like, **changes)).save_pretrained(folder)
    return folder

"""Training of the tiny CLIP vision tower: images against text, and patches against phrases.

In: scenes of the training split, drawn as they are needed. Out: an ordinary `CLIPVisionModel`
folder. The text encoder, the heads and the temperature are thrown away. Beside the loss of CLIP
(arXiv 2103.00020) on whole images there is the region loss of RegionCLIP (arXiv 2112.09106): the
features that a LLaVA connector will read (layer -2, patches) are contrasted with the phrases for
all objects, grounds and printed words. Done before export: the residual stream is rescaled so that
those features have unit scale, because the connector of LLaVA has no LayerNorm and would otherwise
meet badly scaled inputs.
"""

import logging
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from components.data.pocket.scenes.scene import GRID
from workflows.tiny_base.config import VisionConfig
from workflows.tiny_base.scenes import (
    GROUND,
    IMAGE_PX,
    NUM_PATCHES,
    WHAT,
    SceneBatch,
    draw_scene,
    scene_batches,
    scene_caption,
)

log = logging.getLogger(__name__)

PATCH_PX = 14
FEATURE_LAYER = -2
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel mean and standard deviation of CLIP's own preprocessing (openai/clip-vit-large-patch14).
"""
EMPTY_WEIGHT = 0.25
"""Patches without an object are the majority and easy, so they count less."""
MAX_WORDS = 64

# Shapes: B images, P patches, V vision width, E joint embedding width, W words of a caption


class TextTower(nn.Module):
    """A small bidirectional transformer over words; only used while the tower is trained."""

    def __init__(self, words: list[str], width: int, num_layers: int) -> None:
        super().__init__()
        self.index = {word: position + 1 for position, word in enumerate(words)}
        self.word = nn.Embedding(len(words) + 1, width, padding_idx=0)
        self.position = nn.Embedding(MAX_WORDS, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, texts: list[str]) -> Tensor:
        """Return unit-length embeddings [N, E] of the texts."""
        rows = [[self.index[word] for word in split_words(text)] for text in texts]
        longest = max(len(row) for row in rows)
        ids_BW = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        padding_BW = ids_BW == 0
        hidden_BWE = self.word(ids_BW) + self.position.weight[:longest]
        hidden_BWE = self.layers(hidden_BWE, src_key_padding_mask=padding_BW)
        keep_BW1 = (~padding_BW).unsqueeze(-1)
        mean_BE = (hidden_BWE * keep_BW1).sum(1) / keep_BW1.sum(1)
        return functional.normalize(self.norm(mean_BE).float(), dim=-1)


class Contrast(nn.Module):
    """The tower with its throw-away heads and text encoder."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(vision_config(config))
        width = config.hidden_size
        self.text = TextTower(_vocabulary(), config.text_width, config.text_layers)
        self.image_head = nn.Linear(width, config.text_width, bias=False)
        self.what_head = nn.Linear(width, config.text_width, bias=False)
        self.ground_head = nn.Linear(width, config.text_width, bias=False)
        self.place_head = nn.Linear(width, NUM_PATCHES)
        self.feature_norm = nn.LayerNorm(width)
        self.log_scale = nn.Parameter(torch.full((3,), math.log(10.0)))

    def forward(self, batch: SceneBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the summed loss and its parts."""
        output = self.tower(normalise(batch.pixels), output_hidden_states=True)
        patches_BPV = self.feature_norm(output.hidden_states[FEATURE_LAYER][:, 1:])
        what_N, ground_N = (torch.from_numpy(x).flatten() for x in (batch.what, batch.ground))
        phrases = [*_what_phrases(), *_ground_phrases()]
        text_NE = self.text([*batch.captions, *phrases])
        caption_BE, phrase_NE = text_NE[: len(batch.captions)], text_NE[len(batch.captions) :]
        scale = self.log_scale.exp().clamp(max=100)

        image_BE = _unit(self.image_head(output.pooler_output))
        logits_BB = scale[0] * image_BE @ caption_BE.T
        same_B = torch.arange(len(logits_BB))
        whole = functional.cross_entropy(logits_BB, same_B)
        whole = (whole + functional.cross_entropy(logits_BB.T, same_B)) / 2

        what_NE = _unit(self.what_head(patches_BPV)).flatten(0, 1)
        logits_what = scale[1] * what_NE @ phrase_NE[: len(WHAT)].T
        weight_N = torch.where(what_N == 0, EMPTY_WEIGHT, 1.0)
        what_losses_N = functional.cross_entropy(logits_what, what_N, reduction="none")
        what = (what_losses_N * weight_N).sum() / weight_N.sum()
        ground_NE = _unit(self.ground_head(patches_BPV)).flatten(0, 1)
        logits_ground = scale[2] * ground_NE @ phrase_NE[len(WHAT) :].T
        ground = functional.cross_entropy(logits_ground, ground_N)
        place_NP = self.place_head(patches_BPV).float().flatten(0, 1)
        place_N = torch.arange(NUM_PATCHES).repeat(len(batch.pixels))
        place = functional.cross_entropy(place_NP, place_N)

        loss = 0.5 * whole + what + ground + 0.1 * place
        right_N = logits_what.argmax(-1) == what_N
        parts = {
            "whole": whole.item(),
            "what": what.item(),
            "ground": ground.item(),
            "place": place.item(),
            "what_accuracy": right_N[what_N > 0].float().mean().item(),
        }
        return loss, parts


def vision_config(config: VisionConfig) -> CLIPVisionConfig:
    """Return the transformers configuration of the tiny tower."""
    return CLIPVisionConfig(
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        image_size=IMAGE_PX,
        patch_size=PATCH_PX,
        projection_dim=config.text_width,
        hidden_act="gelu",
    )


def train_vision_tower(
    config: VisionConfig,
    output_path: Path,
    seed: int,
    report: Callable[[int, dict[str, float]], None],
) -> CLIPVisionModel:
    """Train the tower, rescale it, save it in bfloat16 to `output_path` and return it (fp32)."""
    torch.manual_seed(seed)
    model = Contrast(config)
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, config.num_steps, config.warmup_steps)
    )
    batches = scene_batches(seed, config.batch_size, config.num_steps, "train")
    for step, batch in enumerate(batches):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, parts = model(batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % config.log_every_steps == 0 or step == config.num_steps - 1:
            report(step, {"loss": loss.item(), **parts})
    tower = model.tower.eval()
    give_unit_scale(tower, seed)
    output_path.mkdir(parents=True, exist_ok=True)
    tower.to(torch.bfloat16).save_pretrained(output_path)
    return tower.float()


@torch.no_grad()
def give_unit_scale(tower: CLIPVisionModel, seed: int, num_images: int = 256) -> float:
    """Scale what is written to the residual stream by one factor, so that layer -2 patches have
    unit std.

    Every reader of the stream is a LayerNorm, so the tower computes the same function. Returns the
    factor.
    """
    batch = next(scene_batches(seed + 1, num_images, 1, "train"))
    features = patch_features(tower, batch.pixels)
    factor = 1.0 / features.std().item()
    writers: list[nn.Module] = [tower.pre_layrnorm]
    for layer in tower.encoder.layers:
        writers += [layer.self_attn.out_proj, layer.mlp.fc2]
    for module in writers:
        module.weight.mul_(factor)
        module.bias.mul_(factor)
    return factor


@torch.no_grad()
def patch_features(tower: CLIPVisionModel, pixels: np.ndarray) -> Tensor:
    """Return layer -2 patch features [B, P, V] of uint8 pixels, as a LLaVA connector reads them."""
    parts = []
    for start in range(0, len(pixels), 64):
        output = tower(normalise(pixels[start : start + 64]), output_hidden_states=True)
        parts.append(output.hidden_states[FEATURE_LAYER][:, 1:].float())
    return torch.cat(parts)


def probe_accuracy(
    tower: CLIPVisionModel, seed: int, num_train: int = 2048, num_eval: int = 512
) -> dict[str, float]:
    """Fit linear probes on layer -2 patches of training scenes; return their accuracy (%) on
    evaluation scenes.

    Accuracies: `object` and `sign` over the upper left patch of cells that show one, `ground` over
    all patches.
    """
    train = next(scene_batches(seed + 2, num_train, 1, "train"))
    held = next(scene_batches(seed + 3, num_eval, 1, "eval"))
    train_x, eval_x = (patch_features(tower, b.pixels).flatten(0, 1) for b in (train, held))
    what = _fit_probe(train_x, torch.from_numpy(train.what).flatten(), len(WHAT))(eval_x)
    ground = _fit_probe(train_x, torch.from_numpy(train.ground).flatten(), len(GROUND))(eval_x)
    target_what = torch.from_numpy(held.what).flatten()
    target_ground = torch.from_numpy(held.ground).flatten()
    right = what.argmax(-1) == target_what
    first_sign = WHAT.index("STOP")
    is_object = (target_what > 0) & (target_what < first_sign)
    return {
        "object": 100 * right[is_object].float().mean().item(),
        "sign": 100 * right[target_what >= first_sign].float().mean().item(),
        "ground": 100 * (ground.argmax(-1) == target_ground).float().mean().item(),
    }


def normalise(pixels: np.ndarray) -> Tensor:
    """Return float pixels with CLIP's mean and standard deviation."""
    mean = torch.tensor(IMAGE_MEAN).view(3, 1, 1)
    std = torch.tensor(IMAGE_STD).view(3, 1, 1)
    return (torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255 - mean) / std


def warmup_cosine(step: int, num_steps: int, warmup_steps: int) -> float:
    """Return the learning-rate factor: linear warm-up, then cosine down to 1%."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def split_words(text: str) -> list[str]:
    """Split into words and punctuation marks."""
    return re.findall(r"\w+|[^\w\s]", text)


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors.float(), dim=-1)


def _fit_probe(features: Tensor, targets: Tensor, num_classes: int) -> nn.Linear:
    probe = nn.Linear(features.shape[1], num_classes)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=1e-2, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        rows = torch.randint(len(features), (1024,), generator=generator)
        loss = functional.cross_entropy(probe(features[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return probe.requires_grad_(False)


def _what_phrases() -> list[str]:
    first_sign = WHAT.index("STOP")
    return [f"the {name}" if i < first_sign else f"sign {name}" for i, name in enumerate(WHAT)]


def _ground_phrases() -> list[str]:
    return [f"on {name}" for name in GROUND]


def _vocabulary() -> list[str]:
    """All words of captions and phrases, collected from many drawn scenes so that the order is
    fixed.
    """
    rng = random.Random(0)
    texts = [
        *_what_phrases(),
        *_ground_phrases(),
        *(scene_caption(draw_scene(rng), rng) for _ in range(2000)),
    ]
    return sorted({word for text in texts for word in split_words(text)})


assert NUM_PATCHES == (IMAGE_PX // PATCH_PX) ** 2 and IMAGE_PX // PATCH_PX == 2 * GRID

"""The arithmetic of training a LLaVA: model FLOPs per token, image and sample, and their share of
a GPU's peak.

In: `LlavaShapes`. Out: numbers. Recomputation, norms and softmax are not counted ("model FLOPs", as
in PaLM, arXiv 2204.02311, appendix B, but causal attention at half); a multiply-add is 2 FLOP.

With T tokens of which K are supervised, L layers of M matrix elements, attention width A (heads x
head width), vocabulary rows V and width D, the forward pass of the language model is
    2 L M T (matrices) + 2 L A T^2 (scores and values; 4 L A T^2 without the mask) + 2 V D K (head)
and that of the tower, for S positions, U layers up to the one that is read, width W, F features
within the layer and patches of Q numbers (channels x side^2), N of them:
    2 U (4 W^2 + 2 W F) S + 4 U W S^2 + 2 Q W N.
The backward pass costs a part once more for the gradient of its input, where something before it
learns, and once more for that of its weights, where it learns itself; scores have no weights but
two inputs, so theirs always costs twice. So stage 1 (the connector alone learns) costs the language
model twice its forward pass, stage 2 three times, and the frozen tower once.
"""

from collections.abc import Sequence

from components.model.sizes.shapes import LanguageShape, LlavaShapes

# Dense bf16 (V100: fp16) peaks in FLOP/s of NVIDIA's data sheets, without sparsity; the SXM form
# where no other is named. The first entry whose words are all in the device's name counts.
PEAK_FLOPS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("h100", "pcie"), 756e12),  # H100 data sheet: 1,513 TFLOPS with sparsity
    (("h100", "nvl"), 835e12),  # H100 data sheet: 1,671 with sparsity
    (("h200", "nvl"), 835e12),  # H200 data sheet: 1,671 with sparsity
    (("h200",), 989e12),  # H200 data sheet: 1,979 with sparsity
    (("h100",), 989e12),  # H100 data sheet: 1,979 with sparsity
    (("a100",), 312e12),  # A100 data sheet: 312, 624 with sparsity
    (("v100",), 125e12),  # V100 data sheet, NVLink form; it knows no bf16
)


def trunk_flops_per_token(language: LanguageShape) -> float:
    """Return the forward FLOPs of all layers' matrices for one token (no attention scores)."""
    return 2.0 * language.layers * language.layer_matrices


def tower_flops_per_image(shapes: LlavaShapes) -> float:
    """Return the forward FLOPs of the tower for one image, up to the last layer that is read."""
    vision, read = shapes.vision, max(shapes.feature_layers)
    matrices = read * (4 * vision.width**2 + 2 * vision.width * vision.ffn_width)
    patch = vision.channels * vision.patch_px**2 * vision.width * vision.patches
    scores = 4.0 * read * vision.width * vision.positions**2
    return 2.0 * matrices * vision.positions + scores + 2.0 * patch


def flops_per_sample(
    shapes: LlavaShapes,
    train: Sequence[str],
    tokens: float,
    supervised_tokens: float,
    images: float = 1.0,
    lora_rank: int = 0,
) -> float:
    """Return the model FLOPs of one sample of a stage, forward and backward.

    `tokens` counts text and patches; means over a data set may be given (of `images` too, where
    some samples show none). `train` holds the parts that learn; with a `lora_rank` the language
    model's own weights do not.
    """
    language = shapes.language
    learns = {part: part in train for part in ("vision_tower", "connector", "language_model")}
    learns["language_model"] = learns["language_model"] and not lora_rank
    tower = tower_flops_per_image(shapes) * (3 if learns["vision_tower"] else 1)
    first, behind = shapes.connector.products(shapes.features_per_image)
    # The matrix on the patches passes a gradient on only where the tower learns.
    connector = 2.0 * first * (1 + learns["connector"] + learns["vision_tower"])
    connector_learns = learns["connector"] or learns["vision_tower"]
    connector += 2.0 * behind * (1 + learns["connector"] + connector_learns)
    # Everything after what learns passes a gradient on: the whole language model in each stage.
    passes = 2 + learns["language_model"]
    trunk = trunk_flops_per_token(language) * tokens
    scores = 2.0 * language.layers * language.attention_width * tokens**2
    head = 2.0 * language.embeddings * supervised_tokens
    # Scores have no weights: their backward pass is two products for each one of the forward.
    adapters = 2.0 * language.adapters(lora_rank) * tokens
    return images * (tower + connector) + passes * (trunk + head) + 3 * (scores + adapters)


def peak_flops(device_name: str) -> float | None:
    """Return the dense bf16 FLOP/s of a GPU by the name torch gives it, None where unknown."""
    name = device_name.lower()
    return next((peak for words, peak in PEAK_FLOPS if all(word in name for word in words)), None)


def mfu(flops: float, seconds: float, peak_flops: float | None) -> float | None:
    """Return the model FLOPs utilisation: the share of one device's peak that did model FLOPs.

    `flops` is what one device did in `seconds`. None where the peak is not known.
    """
    return None if peak_flops is None else flops / seconds / peak_flops

"""The GPU memory a stage needs, by arithmetic: what fits is known before anything is loaded.

In: the sizes of a model, a StageConfig, the number of workers, the mean tokens of a sample. Out:
bytes per GPU, part by part. Nothing is measured or imported that is heavy; CPU workers are not
looked at. Not here: what fits, and what to change (`memory_fit.py`).

With P parameters that learn, F that are frozen, N workers and e bytes an element (bf16: 2):
    weights    ZeRO-1, 2: e (P + F); ZeRO-3: e (P + F) / N, frozen ones are split as well
    gradients  ZeRO-1: e P; ZeRO-2, 3: e P / N
    optimizer  12 P / N: fp32 weights and the two moments of Adam
    step       8 P / N for a moment (in ZeRO-3 for at most `sub_group_size` elements at a time):
               the gradient in fp32 and the root of the second moment, when activations are gone
The total is the larger of a micro-batch's and the step's. Reference: DeepSpeed's memory page
(docs/code-docs/source/memory.rst; its 4 P + 16 P / N and 18 P / N count gradients at both times)
and the code of 0.19.8 (stage_1_and_2.py, stage3.py). Activations: see `layer_bytes`.
"""

from dataclasses import dataclass, fields

from components.model.sizes.part_shapes import LanguageShape, VisionShape
from components.model.sizes.shapes import LlavaShapes
from components.training.config import StageConfig
from components.training.engines.deepspeed_config import deepspeed_config, plan_batches

GIB = 2**30

OVERHEAD = 3 * GIB
"""What no formula counts: a rule of thumb, not measured here yet. About 1 GiB that driver and CUDA
context keep (a card sold as 80 GB shows 79.2 GiB to torch, the context takes 0.5), about
1 GiB of NCCL and cuBLAS work space, 1 GiB of holes in the allocator, as micro-batches differ in
size."""

_MASTER_AND_MOMENTS = 12
"""Bytes per learning parameter: fp32 weights, which ZeRO copies even of fp32 models, and Adam's two
moments."""
_STEP = 8
"""Bytes per parameter at the step: the gradient in fp32 (ZeRO-2 `flat_grad_partition.to`), and a
temporary of torch's AdamW (torch.optim.adam, `_multi_tensor_adam`: `exp_avg_sq_sqrt`)."""
_LOGIT = 12
"""Bytes per logit where the backward pass begins: log-softmax, its gradient and its input's, fp32
each. The bf16 logits are gone by then."""
_PADDED = 1.1
"""Without a kernel for packed rows (fp32) rows are padded to the longest of their group, which
is at most a quarter longer (`attention._LIKE`): a tenth on average."""
_FP32 = 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each GPU of a stage, by part."""

    weights: int
    """Weights that stay: all of them, or this worker's share of them (ZeRO-3)."""
    gradients: int
    optimizer: int
    """fp32 weights and moments."""
    buckets: int
    """Buffers of communication."""
    gathered: int
    """Weights of other workers, brought here for the layers that run (ZeRO-3)."""
    activations: int
    """What is kept of a micro-batch's forward pass for the backward pass."""
    block: int
    """Gradients within the layer whose turn it is, which with checkpointing is computed anew."""
    logits: int
    """Logits of the supervised positions, with their gradients: before any layer has its turn."""
    step: int
    """Extra bytes of the optimizer step, when activations and gathered weights are gone."""
    start: int
    """Weights while the engine starts: ZeRO-3 first brings all of them here, then splits them."""
    overhead: int
    """What no formula counts (OVERHEAD)."""
    micro_tokens: int
    """Tokens of the micro-batch, not bytes."""

    @property
    def total(self) -> int:
        """Most bytes at any time: in a micro-batch, at the step or at the start."""
        stays = self.weights + self.optimizer + self.buckets
        passing = self.gradients + self.gathered + self.activations + max(self.block, self.logits)
        return self.overhead + max(stays + max(passing, self.step), self.start)

    def parts(self) -> dict[str, int]:
        """Return the bytes by part, in the order of the fields."""
        names = [field.name for field in fields(self) if field.name != "micro_tokens"]
        return {name: getattr(self, name) for name in names}


def estimate(
    shapes: LlavaShapes,
    config: StageConfig,
    num_workers: int,
    tokens_per_sample: float,
    *,
    images_per_sample: float = 1.0,
    rank: int | None = None,
) -> MemoryEstimate:
    """Return the bytes on each GPU of a stage whose samples have so many tokens on average.

    All text is taken as supervised, which is the most. `rank` is that of a LoRA in place of the
    language model's own weights; None: as the stage is set. Raises ConfigError when the workers
    cannot share the global batch.
    """
    rank = lora_rank(config) if rank is None else rank
    element = _element(config)
    learning = num_learning(shapes, config, rank)
    everything = shapes.total + shapes.language.adapters(rank)
    samples = float(plan_batches(config, num_workers).micro_batch)
    if config.pack_tokens is not None:
        samples = config.pack_tokens / tokens_per_sample
    images, tokens = samples * images_per_sample, samples * tokens_per_sample
    settings = deepspeed_config(config, num_workers, learning)["zero_optimization"]
    split = config.zero_stage == 3
    own = learning / num_workers
    gradients = element * (learning if config.zero_stage == 1 else own)
    step_elements = min(own, settings["sub_group_size"]) if split else own
    live = (
        settings["stage3_max_live_parameters"] + settings["stage3_prefetch_bucket_size"]
        if split
        else 0
    )
    largest = max(shapes.language.embeddings, shapes.language.width * shapes.language.ffn_width)
    supervised = max(0.0, tokens - images * shapes.patches_per_image)
    return MemoryEstimate(
        weights=round(element * everything / (num_workers if split else 1)),
        gradients=round(gradients),
        optimizer=round(_MASTER_AND_MOMENTS * own),
        # Two buckets, that one fills while the other travels; and the gradient of the largest
        # matrix, which is too large for a bucket.
        buckets=round(element * (2 * settings["reduce_bucket_size"] + min(largest, learning))),
        gathered=round(element * min(live, everything)),
        activations=round(activation_bytes(shapes, config, tokens, images, rank)),
        block=round(block_bytes(shapes, config, tokens, rank)),
        logits=round(_LOGIT * supervised * shapes.language.rows),
        # DeepSpeed frees ZeRO-1's and 2's gradients as it makes fp32 of them; 3 keeps its buffer.
        step=round(_STEP * step_elements + (gradients if split else 0)),
        start=round(element * everything * (1 + 1 / num_workers)) if split else 0,
        overhead=OVERHEAD,
        micro_tokens=round(tokens),
    )


def num_learning(shapes: LlavaShapes, config: StageConfig, rank: int | None = None) -> int:
    """Return how many parameters learn; those of a LoRA in place of the language model's own."""
    rank = lora_rank(config) if rank is None else rank
    own = [part for part in config.train if not (rank and part == "language_model")]
    return shapes.learning(own) + shapes.language.adapters(rank)


def lora_rank(config: StageConfig) -> int:
    """Return the rank of the LoRA that the stage trains, 0 for none."""
    return 0 if config.lora is None else config.lora.rank


def activation_bytes(
    shapes: LlavaShapes, config: StageConfig, tokens: float, images: float, rank: int = 0
) -> float:
    """Return the bytes that are kept of a micro-batch's forward pass for the backward pass.

    L layers of `layer_bytes` a token, or with checkpointing the input of each (e D a token); the
    embeddings before and after images are put in (2 e D); what the last norm keeps; what the
    connector reads and three times what it gives. The frozen tower runs before any of this and
    keeps nothing, and one layer of it is smaller.
    """
    language, element = shapes.language, _element(config)
    learns = "language_model" in config.train and not rank
    layer: float = element * language.width
    if not config.activation_checkpointing:
        layer = layer_bytes(language, element, learns, rank)
    ends = (2 * element + _norm_bytes(element, learns)) * language.width
    connector = shapes.connector
    joint = images * element * shapes.features_per_image
    joint *= connector.patch_width + 3 * connector.width
    return tokens * (language.layers * layer + ends) + joint + _tower_bytes(shapes, config, images)


def block_bytes(shapes: LlavaShapes, config: StageConfig, tokens: float, rank: int = 0) -> float:
    """Return the bytes of the one layer whose turn it is in the backward pass.

    The gradients of its feed-forward part: in bf16 3 e F a token, where it learns e F + 2 e D, as
    inputs of matrices are gone by then; in fp32 3 e F + 2 e D. With checkpointing also all that it
    keeps (`layer_bytes`), as it is computed anew.
    """
    language, element = shapes.language, _element(config)
    learns = "language_model" in config.train and not rank
    anew = layer_bytes(language, element, learns, rank) if config.activation_checkpointing else 0.0
    gradients = 3 * language.ffn_width
    if element == _FP32:
        gradients += 2 * language.width
    elif learns:
        gradients = language.ffn_width + 2 * language.width
    return tokens * (anew + element * gradients)


def layer_bytes(language: LanguageShape, element: int, learns: bool, rank: int = 0) -> float:
    """Return the bytes per token that one layer keeps for its backward pass on a GPU.

    For width D, attention width A, width K of the keys, feed-forward width F and e bytes an
    element; what autograd saves, as the tests see with `saved_tensors_hooks`:
        2 e D            the two norms' inputs (`norms.py`)
        2 e A + 2 e K    queries, output; keys, values
        3 e F            gate, its activation, up
    and where the language model learns, the inputs of its weights:
        2 e D            of the matrices behind the norms
        e F              of the matrix out of the feed-forward part
    In bf16 at D = A = K: 12 D + 6 F frozen, 16 D + 8 F learning. In fp32, without a kernel for
    packed rows, queries, keys (repeated to A), values and output are kept padded, the first three
    unpadded as well, and the output once more for its matrix; and norms that learn keep what their
    weights scale.
    With a LoRA, each of seven linears drops out inputs of its own, which are kept with their masks
    (a byte an element): (5 D + A + F) (e + 1) + 7 e rank.
    """
    width, attention, ffn = language.width, language.attention_width, language.ffn_width
    keys = language.kv_heads * language.head_width
    norm = _norm_bytes(element, learns)
    kept: float = 2 * norm * width + 2 * element * (attention + keys) + 3 * element * ffn
    if element == _FP32:
        padded = (4 * _PADDED + 3 + learns) * attention
        kept += element * (padded - 2 * (attention + keys))
    if learns:
        kept += element * (2 * width + ffn)
    if rank:
        kept += (5 * width + attention + ffn) * (element + 1) + 7 * element * rank
    if language.head_norms:  # of queries and of keys
        kept += norm * (attention + keys)
    return kept


def tower_layer_bytes(vision: VisionShape, element: int) -> float:
    """Return the bytes per position that one layer of a learning tower keeps.

    Two norms' inputs, two inputs of matrices, queries, keys, values and output; and in the
    feed-forward part, with CLIP's x * sigmoid(1.702 x), input, sigmoid and product.
    """
    return 8 * element * vision.width + 3 * element * vision.ffn_width


def _norm_bytes(element: int, learns: bool) -> int:
    """Bytes that a norm keeps for each of its inputs: half-precision ones have a kernel."""
    return element if element < _FP32 else _FP32 * (1 + learns)


def _tower_bytes(shapes: LlavaShapes, config: StageConfig, images: float) -> float:
    """What a tower that learns keeps; with checkpointing each layer's input and one layer."""
    if "vision_tower" not in config.train:
        return 0.0
    read, element = max(shapes.feature_layers), _element(config)
    layer = tower_layer_bytes(shapes.vision, element)
    kept = read * layer
    if config.activation_checkpointing:
        kept = read * element * shapes.vision.width + layer
    return images * shapes.vision.positions * kept


def _element(config: StageConfig) -> int:
    """Bytes of a weight or an activation on a GPU."""
    return 2 if config.precision == "bf16" else _FP32

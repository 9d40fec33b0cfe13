"""Times our training step beside TRL's SFT trainer, and beside the model's own matrix products.

Both train the tiny recipe's model, in one process on the CPU, in the precision that the stage has
there (bf16 autocast where the processor multiplies bf16, else fp32) or that `--precision` says, on
the same rows of the pocket world with AdamW, batches of 32, in turns; ours in one pack, TRL in
micro-batches of 16 and of 32. TRL gets token ids, labels and pixels ready made, so its own image
processing, which ours has to do, costs it nothing.
The limit: the products of a batch's real tokens, forward and backward, at the model's own shapes
and alone: linear layers, scores and values. Samples and real tokens per second are wall clock;
medians of the rounds.

TRL is not among the project's dependencies. Put it into a folder of its own and name that:

    pip install --target /tmp/trl --no-deps trl==1.16.0 datasets multiprocess dill xxhash accelerate
    python -m tests.benchmarks.training --peer /tmp/trl
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from rich.table import Table

from components.model.attention.packed import packed_rows
from components.training.engines.engine import optimizer_for
from components.training.engines.precision import autocasts
from components.training.loop import train_step
from components.training.materials import OpenedModel
from tests.benchmarks.training_parts import (
    GLOBAL_BATCH,
    Speed,
    console,
    endless,
    opened,
    prepare_data,
    stage_of,
)
from tests.benchmarks.training_peer import trl
from tests.training.plain import Alone, PlainEngine

TRL_MICRO_BATCHES = (16, 32)


def main() -> None:
    """Print both stages, all ways, and the shares of the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="folder that TRL was installed into")
    parser.add_argument("--steps", type=int, default=6, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.peer is not None:
        sys.path.insert(0, str(options.peer))
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare_data(folder)
        for name in ("pretrain", "finetune"):
            console.print(compare(folder, name, options))


def compare(folder: Path, name: str, options: argparse.Namespace) -> Table:
    """Return the table of one stage."""
    precision = options.precision
    ways: dict[str, Callable[[int], Speed]] = {"ours": ours(folder, name, precision)}
    if options.peer is not None:
        peers = {
            f"TRL, {size} at once": trl(folder, name, precision, size) for size in TRL_MICRO_BATCHES
        }
        ways = {**peers, **ways}
    rounds: dict[str, list[Speed]] = {way: [] for way in ways}
    for number in range(options.rounds + 1):
        for way, run in ways.items():
            speed = run(options.steps)
            if number:  # the first round warms up
                rounds[way].append(speed)
    limit = product_rate(folder, name, precision)
    table = Table(
        title=f"{name}: batches of {GLOBAL_BATCH}, {options.threads} threads, products in "
        f"{'bf16' if autocasts(stage_of(name).with_(precision=precision)) else 'fp32'}, "
        f"median of {options.rounds} rounds of {options.steps} steps",
        title_justify="left",
    )
    for column in ("way", "samples/s", "least", "most", "of ours", "tokens/s", "share of limit"):
        table.add_column(column, justify="left" if column == "way" else "right", no_wrap=True)
    best = statistics.median(speed.samples_per_s for speed in rounds["ours"])
    for way, speeds in rounds.items():
        samples = [speed.samples_per_s for speed in speeds]
        tokens = statistics.median(speed.tokens_per_s for speed in speeds)
        table.add_row(
            way,
            f"{statistics.median(samples):.1f}",
            f"{min(samples):.1f}",
            f"{max(samples):.1f}",
            f"1/{best / statistics.median(samples):.2f}",
            f"{tokens:,.0f}",
            f"{tokens / limit:.0%}",
        )
    table.caption = f"limit: {limit:,.0f} real tokens/s, were there matrix products alone"
    return table


def ours(folder: Path, name: str, precision: Literal["bf16", "fp32"]) -> Callable[[int], Speed]:
    """Return a function that takes steps as a worker does, without Ray and DeepSpeed."""
    materials, model, config = opened(folder, name, precision)
    module = model.summed_loss(config)
    engine = PlainEngine(module, optimizer_for(module, config), config.gradient_clipping)
    batches = endless(materials, model, config)

    def run(steps: int) -> Speed:
        start = time.perf_counter()
        outcomes = [
            train_step(engine, lambda: next(batches), config.learning_rate, GLOBAL_BATCH, Alone())
            for _ in range(steps)
        ]
        seconds = time.perf_counter() - start
        return Speed(
            sum(outcome.num_samples for outcome in outcomes) / seconds,
            sum(outcome.num_tokens for outcome in outcomes) / seconds,
        )

    return run


def product_rate(
    folder: Path, name: str, precision: Literal["bf16", "fp32"], seconds: float = 2.0
) -> float:
    """Return the real tokens/s of the matrix products of a micro-batch, nothing else being done.

    Linear layers of the language model forward and backward (of frozen ones the gradient of the
    input alone), of the tower and connector for the images, the head for supervised positions,
    and what attention multiplies, in the groups of rows that the step makes.
    """
    materials, model, config = opened(folder, name, precision)
    batch = next(materials.open_batches(model, config, 0, 1).batches())
    piece = next(batch.micro_batches(GLOBAL_BATCH))
    tokens, images = piece.num_tokens, len(piece.pixels)
    supervised = int((piece.labels[:, 1:] >= 0).sum())
    patches = model.patches_per_image
    dtype = torch.bfloat16 if autocasts(config) else torch.float32
    products: list[tuple[torch.Tensor, torch.Tensor, bool, bool]] = []
    for path, linear in model.model.named_modules():
        if not isinstance(linear, torch.nn.Linear):
            continue
        in_tower, in_connector = "vision_tower" in path, "projector" in path
        count = supervised if "lm_head" in path else tokens
        if in_tower or in_connector:
            count = images * (patches + in_tower)
        if in_tower and f"layers.{model.model.config.vision_config.num_hidden_layers - 1}." in path:
            continue  # the last layer is not read
        weight = linear.weight.detach().to(dtype)
        states = torch.randn(count, weight.shape[1], dtype=dtype)
        learns = linear.weight.requires_grad
        products.append((states, weight, learns, not in_tower))
    scores = attention_products(model, piece.attention_mask.sum(dim=1).tolist(), images, dtype)
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for states, weight, learns, backward in products:
            out = states @ weight.t()
            if backward:
                _ = out @ weight
            if learns:
                _ = out.t() @ states
        for query, key, backward in scores:
            weights = torch.bmm(query, key.transpose(1, 2))
            values = torch.bmm(weights, key)
            if backward:  # of values, weights, queries, keys
                _ = torch.bmm(weights.transpose(1, 2), values)
                _ = torch.bmm(values, key.transpose(1, 2))
                _ = torch.bmm(weights, key)
                _ = torch.bmm(weights.transpose(1, 2), query)
        rounds += 1
    return rounds * tokens / (time.perf_counter() - start)


def attention_products(
    model: OpenedModel, lengths: list[int], images: int, dtype: torch.dtype
) -> list[tuple[torch.Tensor, torch.Tensor, bool]]:
    """Return states that stand for queries and keys of each layer, and whether gradients pass."""
    text, vision = model.model.config.text_config, model.model.config.vision_config
    heads, width = text.num_attention_heads, text.hidden_size // text.num_attention_heads
    shapes = [
        (rows.num_rows * heads, rows.longest, width, True) for rows in packed_rows(lengths).groups
    ] * text.num_hidden_layers
    heads, width = vision.num_attention_heads, vision.hidden_size // vision.num_attention_heads
    patches = model.patches_per_image + 1
    shapes += [(images * heads, patches, width, False)] * (vision.num_hidden_layers - 1)
    return [
        (
            torch.randn(count, length, size, dtype=dtype),
            torch.randn(count, length, size, dtype=dtype),
            backward,
        )
        for count, length, size, backward in shapes
    ]


if __name__ == "__main__":
    main()

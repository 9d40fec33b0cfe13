"""What `gpu_training.py` tells of a run, on the console and as JSON.

In: the results of a stage. Out: a table with its formula and its assumptions.
"""

import datetime
import platform
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

from components.model.sizes.flops import peak_flops

GIB = 2**30
LIMIT_GIB = 139
"""Memory that a full fine-tune of the 7B model is to fit: one H200."""
FORMULA = (
    "Model FLOPs of a sample (components/model/sizes/flops.py; no recomputation, norms or "
    "softmax; real tokens only): 2 a matrix element and token, 2 x layers x width x "
    "tokens^2 for causal scores, the head on supervised tokens; twice that where the "
    "language model is frozen, three times where it learns (scores always three times); "
    "the frozen tower once. MFU = model FLOPs / (seconds x the dense bf16 peak). Hours = "
    "published samples x FLOPs of a mean sample / (8 x FLOP/s), as if eight GPUs were "
    "eight times one."
)

PEER = (
    "The peer: LlavaForConditionalGeneration of transformers with sdpa attention; micro-batches in "
    "random order, padded on the right to their longest sample; gradient checkpointing as the "
    "original has it, in stage 1 also without; its own loss over all positions' logits; ready "
    "pixels in pinned memory. Optimizer and fp32 sums of gradients over micro-batches are our "
    "side's, so memory differs by activations alone. Of each side the fastest setting that fits "
    "counts."
)


@dataclass
class Row:
    """One side of a stage; zeros and None where there is no such number."""

    side: str
    setting: str
    samples_per_s: float = 0.0
    tokens_per_s: float = 0.0
    """Real tokens of text and images."""
    tflops_per_s: float = 0.0
    mfu: float | None = None
    allocated_gib: float = 0.0
    reserved_gib: float = 0.0
    hours_on_eight: float | None = None
    first_loss: float = 0.0
    """Mean loss of the first step, on the weights as they were made."""
    first_norm: float = 0.0
    turns_s: list[float] = field(default_factory=list)
    """Seconds of the timed turns, one a round."""
    ratios: list[float] = field(default_factory=list)
    """Our speed by this side's, round by round."""


@dataclass
class StageResult:
    """Both sides of a stage."""

    stage: str
    model: str
    layers: int
    of_layers: int
    assumptions: str
    aims: tuple[float, float]
    """MFU and ratio that the project wants to reach."""
    attention: str = ""
    """By what our side attends to packed rows."""
    rows: list[Row] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    run_s: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether all layers of the model took part."""
        return self.layers == self.of_layers


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the numbers were measured on."""
    name, memory_gib = platform.processor() or "CPU", 0.0
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        memory_gib = torch.cuda.get_device_properties(device).total_memory / GIB
    return {
        "device": name,
        "memory_gib": round(memory_gib, 1),
        "peak_tflops": (peak_flops(name) or 0.0) / 1e12,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.date.today().isoformat(),
    }


def print_machine(console: Console, device: torch.device) -> None:
    """Show the machine and the formula."""
    found = machine(device)
    console.print(", ".join(f"{name} {value}" for name, value in found.items()), highlight=False)
    console.print(f"{FORMULA}\n{PEER}", highlight=False)


def print_stage(console: Console, result: StageResult) -> None:
    """Show a stage's table, what was tried and assumed, and what it says of the aims."""
    table = Table(title=_title(result), title_justify="left", caption_justify="left")
    for column in (
        "side",
        "samples/s",
        "tokens/s",
        "TFLOP/s",
        "MFU",
        "ours is",
        "peak GiB",
        "8 GPUs",
    ):
        table.add_column(column, justify="left" if column == "side" else "right")
    for row in result.rows:
        if not row.samples_per_s:
            table.add_row(f"{row.side}: {row.setting}")
            continue
        table.add_row(
            f"{row.side}\n{row.setting}",
            f"{row.samples_per_s:.2f}",
            f"{row.tokens_per_s:,.0f}",
            f"{row.tflops_per_s:.3g}",
            "-" if row.mfu is None else f"{row.mfu:.1%}",
            f"{median(row.ratios):.2f} x" if row.ratios else "",
            f"{row.allocated_gib:.1f} ({row.reserved_gib:.1f})",
            "-" if row.hours_on_eight is None else f"{row.hours_on_eight:.2f} h",
        )
    table.caption = "peak GiB: allocated, in brackets reserved"
    console.print(table)
    told = (f"attention of ours: {result.attention}", f"assumed: {result.assumptions}")
    for line in (*_findings(result), *result.tried, *told):
        console.print(line, highlight=False)
    console.print(f"The stage took {result.run_s:.0f} s.\n", highlight=False)


def _title(result: StageResult) -> str:
    layers = "" if result.is_whole else f", {result.layers} OF {result.of_layers} LAYERS"
    return f"{result.stage}: {result.model} shapes{layers}, random weights"


def _findings(result: StageResult) -> list[str]:
    lines = []
    aim_mfu, aim_ratio = result.aims
    ours, *peers = result.rows
    ran = [peer for peer in peers if peer.ratios]
    for peer in ran:
        lines.append(
            f"ours / {peer.side}: {median(peer.ratios):.2f} "
            f"({min(peer.ratios):.2f} to {max(peer.ratios):.2f} in {len(peer.ratios)} rounds); "
            f"equal work: losses of the first step {ours.first_loss:.5f} and "
            f"{peer.first_loss:.5f}, gradient norms {ours.first_norm:.5f} and {peer.first_norm:.5f}"
        )
    if ours.mfu is not None and ran:
        ratio = min(median(peer.ratios) for peer in ran)
        part = "" if result.is_whole else f", with {result.layers} of {result.of_layers} layers"
        for wanted, found, reached in (
            (f"{aim_mfu:.0%} MFU", f"{ours.mfu:.1%}", ours.mfu >= aim_mfu),
            (f"{aim_ratio} times the fastest peer", f"{ratio:.2f}", ratio >= aim_ratio),
        ):
            lines.append(f"aim of {wanted}: {'reached' if reached else 'MISSED'}, {found}{part}")
    if result.stage == "finetune" and result.model == "7b" and ours.mfu is not None:
        lines.append(_memory_finding(result, ours))
    if not result.is_whole:
        lines.append(
            f"All {result.of_layers} layers do not fit this GPU; the hours are those of the whole "
            "model at the FLOP/s of the layers that ran."
        )
    return lines


def _memory_finding(result: StageResult, ours: Row) -> str:
    question = f"full fine-tune of 7B in {LIMIT_GIB} GiB: "
    if not result.is_whole:
        return question + "not tried, this GPU is smaller"
    fits = "fits" if ours.reserved_gib <= LIMIT_GIB else "does not fit"
    return f"{question}{fits}, {ours.reserved_gib:.1f} GiB reserved at most"

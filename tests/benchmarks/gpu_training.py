"""Times our training step on one GPU beside a padded Hugging Face loop, on LLaVA-1.5's own shapes.

Both sides train the same random bf16 model with the same optimizer object (fp32 masters, gradients
and moments) on the same synthetic samples in the same steps, in turns. Each uses the fastest of
its settings that fits. The first step of each setting is taken at a learning rate of zero: equal
losses and gradient norms show that the work is equal. Making batches and normalising the peer's
pixels is not timed. Without a GPU only `--model tiny` makes sense: it shows that the script works.

    python -m tests.benchmarks.gpu_training --json results.json
    python -m tests.benchmarks.gpu_training --model tiny --rounds 1 --steps 2

Needs torch (2.11 or later), transformers (5.17 or later) and rich; nothing is downloaded.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TypeVar

import torch
from rich.console import Console

from components.model.attention.packed import _varlen_is_sound
from components.model.learning.freeze import freeze_for_stage
from components.model.sizes.flops import peak_flops
from tests.benchmarks.gpu_options import PEERS, read_options, settings_of
from tests.benchmarks.gpu_report import GIB, Row, StageResult, machine, print_machine, print_stage
from tests.benchmarks.gpu_samples import (
    STAGES,
    StageWork,
    Step,
    describe,
    draw_steps,
    step_flops,
)
from tests.benchmarks.gpu_shapes import SIZES, Size, fitting, random_llava
from tests.benchmarks.gpu_sides import Ours, Peer, Setting, Side, shared_adam

RATE = 1e-6
"""Learning rate of the timed steps; what it is has no part in their speed."""
console = Console(width=120)
T = TypeVar("T")


@dataclass
class Trial:
    """A side's setting that was tried."""

    setting: Setting
    seconds: float = 0.0
    """Of a step; 0 where memory did not suffice."""
    loss: float = 0.0
    norm: float = 0.0
    peaks: list[tuple[int, int]] = field(default_factory=list)
    """Bytes allocated and reserved at most."""


def main(arguments: Sequence[str] | None = None) -> list[StageResult]:
    """Print the stages' tables and return what is in them."""
    options = read_options(__doc__, arguments)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    print_machine(console, device)
    results = []
    for name in options.stages:
        results.append(run_stage(STAGES[name], options, device))
        print_stage(console, results[-1])
        if options.json is not None:  # after each stage: the next may be cut off
            found = {
                "machine": machine(device),
                "options": vars(options),
                "stages": [asdict(each) for each in results],
            }
            options.json.write_text(json.dumps(found, indent=1, default=str))
        _free()
    return results


def run_stage(work: StageWork, options: argparse.Namespace, device: torch.device) -> StageResult:
    """Return both sides' rates of one stage."""
    began = time.perf_counter()
    full = SIZES[options.model]
    size = fitting(full, work.train, _memory_bytes(device))
    steps = draw_steps(work, size, options.steps, options.seed)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    result = StageResult(
        stage=work.name,
        model=options.model,
        layers=size.shapes.language.layers,
        of_layers=full.shapes.language.layers,
        assumptions=describe(work, size, steps),
        attention=_attention(size, dtype, device),
        aims=(work.aim_mfu, work.aim_ratio),
    )
    model = random_llava(size, device, dtype, options.seed)
    freeze_for_stage(model, work.train)
    adam = attempted(lambda: shared_adam(model), lambda: None)
    if adam is None:
        names = (Ours.name, *PEERS[work.name])
        result.rows += [Row(name, "out of memory for the optimizer") for name in names]
        return result
    peers = [Peer(name, each, model, size, adam) for name, each in PEERS[work.name].items()]
    sides = [Ours(model, size, adam), *peers]
    best: dict[str, Trial] = {}
    for side in sides:
        trials = [
            _trial(side, setting, steps, adam.zero_grad, device)
            for setting in settings_of(side, work, size, options)
        ]
        result.tried += [_told(side, trial) for trial in trials]
        fits = [trial for trial in trials if trial.seconds]
        if fits:
            best[side.name] = min(fits, key=lambda trial: trial.seconds)
    seconds = _rounds(sides, best, steps, options.rounds, adam.zero_grad, device)
    for side in sides:
        result.rows.append(
            _row(side, best.get(side.name), seconds, steps, work, size, full, device)
        )
    own = result.rows[0].turns_s
    for row in result.rows[1:]:
        row.ratios = [theirs / ours for theirs, ours in zip(row.turns_s, own, strict=False)]
    result.run_s = time.perf_counter() - began
    return result


def attempted(act: Callable[[], T], tidy: Callable[[], object]) -> T | None:
    """Return what `act` returns, or None where the GPU's memory does not suffice."""
    try:
        return act()
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if not any(words in str(error) for words in ("out of memory", "ALLOC_FAILED")):
            raise
    # Here the traceback is gone, and with it the activations that it held.
    tidy()
    _free()
    return None


def _trial(
    side: Side,
    setting: Setting,
    steps: list[Step],
    tidy: Callable[[], None],
    device: torch.device,
) -> Trial:
    """Try a setting on a first step and two more; the weights stay as they are."""
    trial = Trial(setting)

    def act() -> bool:
        _free()
        _restart_peaks(device)
        side.use(setting, steps)
        trial.loss, trial.norm = side.step(0, 0.0)
        some = range(min(2, len(steps)))
        trial.seconds = _timed(lambda: [side.step(n, 0.0) for n in some], device) / len(some)
        trial.peaks.append(_peaks(device))
        return True

    if not attempted(act, tidy):
        trial.seconds = 0.0
    return trial


def _rounds(
    sides: Sequence[Side],
    best: dict[str, Trial],
    steps: list[Step],
    num_rounds: int,
    tidy: Callable[[], None],
    device: torch.device,
) -> dict[str, list[float]]:
    """Return the seconds of each side's turns, in turns; the first round warms up.

    A side whose memory does not suffice after all leaves `best`.
    """
    seconds: dict[str, list[float]] = {side.name: [] for side in sides if side.name in best}

    def turn(side: Side) -> float:
        side.use(best[side.name].setting, steps)
        _restart_peaks(device)
        return _timed(lambda: [side.step(n, RATE) for n in range(len(steps))], device)

    for number in range(num_rounds + 1):
        for side in sides:
            if side.name not in best:
                continue
            passed = attempted(partial(turn, side), tidy)
            if passed is None:
                del best[side.name], seconds[side.name]
            elif number:
                seconds[side.name].append(passed)
                peaks = best[side.name].peaks
                peaks.append((_peaks(device)[0], peaks[0][1]))
    return seconds


def _row(
    side: Side,
    trial: Trial | None,
    seconds: dict[str, list[float]],
    steps: list[Step],
    work: StageWork,
    size: Size,
    full: Size,
    device: torch.device,
) -> Row:
    """Return the numbers of one side."""
    if trial is None:
        return Row(side.name, "out of memory in each setting")
    passed = statistics.median(seconds[side.name])
    num_samples = sum(map(len, steps))
    flops = sum(step_flops(size.shapes, work.train, step) for step in steps) / passed
    whole = sum(step_flops(full.shapes, work.train, step) for step in steps) / num_samples
    peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    allocated, reserved = (max(peaks) for peaks in zip(*trial.peaks, strict=True))
    return Row(
        side.name,
        trial.setting.text(side.unit),
        samples_per_s=num_samples / passed,
        tokens_per_s=sum(one.num_tokens for step in steps for one in step) / passed,
        tflops_per_s=flops / 1e12,
        mfu=None if peak is None else flops / peak,
        allocated_gib=allocated / GIB,
        reserved_gib=reserved / GIB,
        hours_on_eight=None if peak is None else work.num_published * whole / (8 * flops) / 3600,
        first_loss=trial.loss,
        first_norm=trial.norm,
        turns_s=seconds[side.name],
    )


def _attention(size: Size, dtype: torch.dtype, device: torch.device) -> str:
    """Tell by what our side attends."""
    width = size.shapes.language.head_width
    sound = device.type == "cuda" and _varlen_is_sound(device, dtype, width)
    return "torch's kernel for rows of any lengths" if sound else "rows padded in groups"


def _told(side: Side, trial: Trial) -> str:
    setting = f"{side.name}, {trial.setting.text(side.unit)}: "
    if not trial.seconds:
        return setting + "out of memory"
    return setting + f"{trial.seconds:.3f} s a step, loss {trial.loss:.5f}, norm {trial.norm:.5f}"


def _timed(act: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    act()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _memory_bytes(device: torch.device) -> int | None:
    """Return what is free of the GPU's memory, None without a GPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _restart_peaks(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peaks(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda":
        return 0, 0
    return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)


def _free() -> None:
    gc.collect()
    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()

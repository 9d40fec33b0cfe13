"""The options of `gpu_training.py`, and which settings each side tries.

In: the words of the command line. Out: options; settings, of which the fastest is then measured.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.gpu_samples import STAGES, StageWork
from tests.benchmarks.gpu_shapes import SIZES, Size
from tests.benchmarks.gpu_sides import Ours, Peer, Setting

PACK_TOKENS = (16_384, 8_192)
MICRO_BATCHES = {"pretrain": (32, 16, 8), "finetune": (16, 8, 4, 2)}
CHECKPOINTING = {"pretrain": (0,), "finetune": (1,)}
"""Which layers our side recomputes: 0 none, 1 all, n one of n."""
PEERS = {
    "pretrain": {"Hugging Face as the original": 1, "Hugging Face, no checkpointing": 0},
    "finetune": {"Hugging Face as the original": 1},
}
"""What each peer recomputes. Stage 1 needs no recomputation on such a GPU; the original has it."""


def read_options(purpose: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=sorted(SIZES), default="7b")
    parser.add_argument("--stages", nargs="+", choices=sorted(STAGES), default=list(STAGES))
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds, after one of warm-up")
    parser.add_argument("--steps", type=int, default=4, help="steps of a round")
    parser.add_argument("--pack-tokens", type=int, nargs="+", help="packs that our side tries")
    parser.add_argument(
        "--checkpointing",
        nargs="+",
        default=["auto"],
        metavar="[STAGE=]on|off|auto|N",
        help="our recomputation; N: of every N-th layer; auto: off in pretrain, on in finetune",
    )
    parser.add_argument("--peer-micro-batch", type=int, nargs="+", help="what the peer tries")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the results are written as well")
    options = parser.parse_args(arguments)
    values = dict.fromkeys(STAGES, "auto")
    for word in options.checkpointing:
        stage, _, value = word.rpartition("=")
        values |= dict.fromkeys([stage] if stage else STAGES, value)
    if set(values) - set(STAGES) or not all(
        value in ("on", "off", "auto") or value.isdigit() for value in values.values()
    ):
        parser.error(f"--checkpointing {' '.join(options.checkpointing)}: see --help")
    options.checkpointing = values
    return options


def settings_of(
    side: Ours | Peer, work: StageWork, size: Size, options: argparse.Namespace
) -> list[Setting]:
    """Return what a side may try."""
    if isinstance(side, Ours):
        amounts = options.pack_tokens or PACK_TOKENS
        amounts = sorted({max(amount, size.max_tokens) for amount in amounts}, reverse=True)
        chosen = {"on": (1,), "off": (0,), "auto": CHECKPOINTING[work.name]}
        every = chosen.get(options.checkpointing[work.name]) or (
            int(options.checkpointing[work.name]),
        )
    else:
        amounts = options.peer_micro_batch or MICRO_BATCHES[work.name]
        every = (side.every,)
    return [Setting(amount, number) for number in every for amount in amounts]

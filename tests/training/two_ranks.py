"""Two DeepSpeed ranks without Ray: train, save half way, resume, and hand the results to the test.

Run as `python -m tests.training.two_ranks RANK FOLDER`; every ZeRO stage in one process, because
importing costs more than training.
"""

import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed

from components.training.checkpoints.checkpointing import (
    Progress,
    read,
    take_snapshot,
    write_snapshot,
)
from components.training.config import BasePaths
from components.training.engines.deepspeed_config import plan_batches
from components.training.engines.deepspeed_engine import DeepSpeedEngine
from components.training.engines.engine import SummedLoss
from components.training.loop import seed_step, train_step
from components.training.materials import Materials
from components.training.workers.ranks import AcrossRanks
from tests.training.tiny import stage

STEPS, HALF = 4, 2


def start(materials, config, ranks, saved=None):
    """Open the model, put the saved state in, and return (engine, batches from where it stands)."""
    opened = materials.open_model(config)
    opened.set_up(config)
    if saved is not None:
        saved.load_weights(opened.model)
    autocast = config.precision == "bf16"
    if autocast:
        opened.autocast_on_cpu()
    module = SummedLoss(opened.loss_module(), autocast)
    names = {id(p): n for n, p in opened.model.named_parameters()}
    engine = DeepSpeedEngine(module, config, ranks.world_size, names)
    if saved is not None:
        engine.restore_optimizer(saved)
    source = materials.open_batches(opened, config, ranks.rank, ranks.world_size)
    return engine, source.batches(saved.progress.step if saved else 0)


def train(engine, batches, config, ranks, first, last):
    """Take the steps and return [loss, gradient norm] of each."""
    micro_batch = plan_batches(config, ranks.world_size).micro_batch
    numbers = []
    for step in range(first, last):
        seed_step(config.seed, step, ranks.rank)
        outcome = train_step(engine, lambda: next(batches), 1e-2, micro_batch, ranks)
        numbers.append([outcome.loss, outcome.grad_norm])
    return numbers


def weights(engine):
    return {
        f"{kind}/{name}": tensor.clone()
        for name in engine.parameter_names()
        for kind, tensor in engine.whole(name).items()
    }


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed insists on it
    world_size = int((folder / "world_size").read_text())
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size
    )
    ranks = AcrossRanks(torch.device("cpu"))
    base = BasePaths(**json.loads((folder / "base.json").read_text()))
    materials = Materials(base, (folder / "data").read_text())
    lora = {"rank": 4, "alpha": 8, "dropout": 0.1}
    for zero_stage, precision, adapters in [
        (2, "fp32", None),
        (3, "fp32", None),
        (3, "bf16", None),
        (2, "fp32", lora),
        (3, "bf16", lora),
    ]:
        config = stage(zero_stage=zero_stage, precision=precision, lora=adapters)
        out = folder / f"zero{zero_stage}-{precision}{'-lora' if adapters else ''}"
        engine, batches = start(materials, config, ranks)
        numbers = train(engine, batches, config, ranks, 0, HALF)
        progress = Progress(HALF, [loss for loss, _ in numbers])
        write_snapshot(take_snapshot(engine, progress), out / "shards", "recipe", rank, world_size)
        distributed.barrier()
        numbers += train(engine, batches, config, ranks, HALF, STEPS)
        final = weights(engine)
        saved = read(out / "shards", "recipe")
        resumed, batches = start(materials, config, ranks, saved)
        again = train(resumed, batches, config, ranks, HALF, STEPS)
        if rank == 0:
            result = {"numbers": numbers, "again": again, "recent": saved.progress.recent_losses}
            (out / "numbers.json").write_text(json.dumps(result))
            torch.save({"final": final, "resumed": weights(resumed)}, out / "weights.pt")
        else:
            weights(resumed)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

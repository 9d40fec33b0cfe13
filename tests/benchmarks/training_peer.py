"""TRL's SFT trainer, timed on the model and rows of `training`.

In: prepared data. Out: samples and real tokens per second of some steps. TRL must be importable;
it is no dependency of the project.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from components.data.loader.loader import Loader
from components.model.embed import normalise_pixels
from components.training.engines.precision import autocasts
from components.training.materials import OpenedModel
from tests.benchmarks.training_parts import GLOBAL_BATCH, Speed, opened


def trl(
    folder: Path, name: str, precision: Literal["bf16", "fp32"], micro_batch: int
) -> Callable[[int], Speed]:
    """Return a function that trains some steps with TRL's SFT trainer on ready-made rows."""
    import datasets
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    _, model, config = opened(folder, name, precision)
    rows = ready_rows(folder, name, model)
    wanted = torch.bfloat16 if autocasts(config) else torch.float32
    data = datasets.Dataset.from_dict({"row": list(range(len(rows)))})
    seen = {"tokens": 0, "samples": 0}

    def collate(items: list[dict[str, int]]) -> dict[str, torch.Tensor]:
        some = [rows[item["row"]] for item in items]
        seen["tokens"] += sum(len(row["input_ids"]) for row in some)
        seen["samples"] += len(some)
        return padded(some, model.pad_token_id)

    class Clock(TrainerCallback):
        started = 0.0
        ended = 0.0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            # The first step makes the optimizer's state; it is not counted.
            self.ended = time.perf_counter()
            self.started = self.started or self.ended

    def run(steps: int) -> Speed:
        # A model of its own: one that a trainer had before is not put under autocast again.
        _, model, _ = opened(folder, name, precision)
        products: set[torch.dtype] = set()
        first = next(m for m in model.model.modules() if isinstance(m, torch.nn.Linear))
        first.register_forward_hook(lambda _module, _inputs, output: products.add(output.dtype))
        with tempfile.TemporaryDirectory() as output:
            arguments = SFTConfig(
                output_dir=output,
                per_device_train_batch_size=micro_batch,
                gradient_accumulation_steps=GLOBAL_BATCH // micro_batch,
                max_steps=steps + 1,
                learning_rate=config.learning_rate,
                lr_scheduler_type="cosine",
                bf16=autocasts(config),
                use_cpu=True,
                gradient_checkpointing=False,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                remove_unused_columns=False,
                dataset_kwargs={"skip_prepare_dataset": True},
                max_length=None,
            )
            clock = Clock()
            trainer = SFTTrainer(
                model=model.model,
                args=arguments,
                train_dataset=data,
                data_collator=collate,
                processing_class=model.tokenizer,
                callbacks=[clock],
            )
            seen.update(tokens=0, samples=0)
            trainer.train()
        assert products == {wanted}, f"the peer multiplied in {products}, not in {wanted}"
        seconds = clock.ended - clock.started
        share = steps * GLOBAL_BATCH / seen["samples"]  # it may have collated ahead
        return Speed(steps * GLOBAL_BATCH / seconds, seen["tokens"] * share / seconds)

    return run


def ready_rows(folder: Path, name: str, model: OpenedModel) -> list[dict[str, torch.Tensor]]:
    """Return rows as a Hugging Face model takes them, pixels as floats."""
    loader = Loader(folder / name, GLOBAL_BATCH, model.pad_token_id)
    rows = []
    for step in range(24):
        batch = loader.batch(step)
        pixels = iter(normalise_pixels(batch.pixels, loader.spec.image, torch.float32))
        for row in range(len(batch)):
            length = int(batch.attention_mask[row].sum())
            rows.append(
                {
                    "input_ids": batch.input_ids[row, :length],
                    "labels": batch.labels[row, :length],
                    **({"pixel_values": next(pixels)} if batch.has_image[row] else {}),
                }
            )
    return rows


def padded(rows: list[dict[str, torch.Tensor]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Return a right-padded batch for transformers."""
    pad = torch.nn.utils.rnn.pad_sequence
    batch = {
        "input_ids": pad([row["input_ids"] for row in rows], True, pad_token_id),
        "labels": pad([row["labels"] for row in rows], True, -100),
        "attention_mask": pad([torch.ones_like(row["input_ids"]) for row in rows], True, 0),
    }
    images = [row["pixel_values"] for row in rows if "pixel_values" in row]
    return batch | ({"pixel_values": torch.stack(images)} if images else {})

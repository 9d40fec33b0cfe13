"""Questions per second of a batch-1 `generate` loop and of our target, on the same questions.

The loop does per question what `LlavaHf.generate_until` does, which asserts batch size 1
(lmms_eval/models/simple/llava_hf.py of EvolvingLMMs-Lab/lmms-eval 19085f3): open the image, apply
the chat template, the processor, `model.generate` (greedy, with cache), decode. Ours: evaluator
actors of one thread each, as an evaluation asks them, images decoded anew in each round. Both
have the same cores (one process with `--cores` threads; so many actors), weights and dtype, and
work in turns; reading the question files, starting and loading the model are not timed. With fewer
questions than batches for each actor (a --limit of 64) some of ours have nothing to do.

Their fast tokenizer leaves out the dummy space that SentencePiece, and so the original LLaVA, puts
behind the image (`components.data.tokens`): one token less in each prompt, which changes some
answers of a small model. The loop makes its own ids, in its time, and then runs on the original's,
so that answers can be compared; with --their-prompts it keeps its own. Run it with

    python -m tests.benchmarks.evaluation --model FOLDER --raw FOLDER [--device cuda]

`lavaflow run tiny` leaves both: store/finetune/*/attempt-*/files is a model, and
store/raw/*/attempt-*/files holds the benchmarks. Any model folder of lavaflow will do.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import ray
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from components.data.conversation import render
from components.data.records import Turn
from components.data.tokens import encode, expand_image_tokens
from components.evaluation.benchmark import Question, get_benchmark, limited
from components.evaluation.config import EvaluationConfig
from components.evaluation.targets.asking import ask
from components.evaluation.targets.checkpoint import CheckpointTarget, Target, keep_freed_memory
from components.evaluation.targets.pool import PoolTarget
from components.model.checkpoint import DTYPES, load_checkpoint

BENCHMARKS = "vqav2,gqa,textvqa,pope,mme,mmbench,grocery"


@dataclass(frozen=True)
class Round:
    """What one side took for a benchmark, and what it answered, by question id."""

    wall_s: float
    answers: dict[str, str | None]


class Loop:
    """One question after the other through `generate`."""

    def __init__(self, folder: Path, dtype: str, device: str) -> None:
        model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=DTYPES[dtype])
        self.model = model.to(device).eval()
        self.processor = LlavaProcessor.from_pretrained(folder)
        self.device, self.dtype = device, DTYPES[dtype]
        self.prompts: dict[str, torch.Tensor] = {}
        """Ids by question, image token repeated, to be asked in place of its own."""

    def answer(self, questions: Sequence[Question]) -> dict[str, str | None]:
        """Return the stripped answers by id."""
        return {question.id: self._answer(question)[0] for question in questions}

    def margin(self, question: Question) -> float:
        """Return how far the two best tokens lay apart, at the step where they were nearest."""
        scores = self._answer(question, output_logits=True)[1]
        pairs = (step[0].float().topk(2).values for step in scores)
        return min(float(best - second) for best, second in pairs)

    def _answer(
        self, question: Question, output_logits: bool = False
    ) -> tuple[str, Sequence[torch.Tensor]]:
        tokenizer = self.processor.tokenizer
        image = opened(question)
        content = question.prompt if image is None else f"<image>\n{question.prompt}"
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        inputs = self.processor(images=image, text=text, return_tensors="pt")
        if question.id in self.prompts:
            inputs["input_ids"] = self.prompts[question.id]
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs = inputs.to(self.device, self.dtype)
        with torch.inference_mode():
            output = self.model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=question.max_new_tokens,
                use_cache=True,
                pad_token_id=tokenizer.eos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                return_dict_in_generate=True,
                output_logits=output_logits,
            )
        new_ids = output.sequences[:, inputs["input_ids"].shape[-1] :]
        (answer,) = tokenizer.batch_decode(new_ids, skip_special_tokens=True)
        return answer.strip(), output.logits or ()


def main() -> None:
    """Print both rates, their ratio and the answers that differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a model folder of lavaflow")
    parser.add_argument("--raw", type=Path, required=True, help="a folder with eval/")
    parser.add_argument("--benchmarks", default=BENCHMARKS)
    parser.add_argument("--limit", type=int, default=256, help="questions of each; 0 asks all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--cores", type=int, default=2, help="threads of the loop; our actors")
    parser.add_argument("--their-prompts", action="store_true", help="without the dummy space")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.cores)
    keep_freed_memory()  # as the actors do
    loop = Loop(options.model, options.dtype, options.device)
    where = f"{options.cores} cores"
    if options.device != "cpu":
        options.cores = 1
        where = torch.cuda.get_device_name(options.device)
    target = started(options)
    table = Table(
        title=f"{options.model.name}, {options.dtype}, {where}, batches of {options.batch_size}; "
        f"median of {options.rounds} interleaved rounds",
        title_justify="left",
    )
    for column in ("", "questions", "loop /s", "ours /s", "ratio", "differ", "margin"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    totals = [0.0, 0.0]
    num_asked = num_differing = 0
    for name in options.benchmarks.split(","):
        benchmark = get_benchmark(name)
        questions = limited(
            benchmark.read(options.raw / "eval" / benchmark.folder), options.limit, 0
        )
        loop.prompts = {} if options.their_prompts else original_ids(options.model, questions)
        theirs, ours = in_turns(loop, target, questions, options)
        differing = [q for q in questions if theirs[0].answers[q.id] != ours[0].answers[q.id]]
        margin = max((loop.margin(q) for q in differing), default=None)
        seconds = [statistics.median(one.wall_s for one in side) for side in (theirs, ours)]
        totals = [total + value for total, value in zip(totals, seconds, strict=True)]
        num_asked += len(questions)
        num_differing += len(differing)
        table.add_row(*row(name, len(questions), *seconds, len(differing)), shown(margin))
    table.add_section()
    table.add_row(*row("together", num_asked, *totals, num_differing), "")
    table.caption = (
        "margin: of the answers that differ, the largest gap between the two best logits at the "
        "nearest step"
    )
    Console(width=100).print(table)


def started(options: argparse.Namespace) -> Target:
    """Return our side as an evaluation has it: actors; on one core, this process."""
    make = partial(
        CheckpointTarget,
        options.model.resolve(),
        options.dtype,
        options.device,
        options.batch_size,
        image_cache_bytes=0,  # or images would be known in the second round
    )
    if options.cores == 1:
        return make()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init("local", num_cpus=options.cores, include_dashboard=False, log_to_driver=False)
    config = EvaluationConfig(num_actors=options.cores, batch_size=options.batch_size)
    return PoolTarget(partial(alone, make), "sha256:benchmark", config)


def alone(make: Callable[[], Target]) -> Target:
    """Make the target within an actor, set as evaluators are."""
    torch.set_num_threads(1)
    keep_freed_memory()
    return make()


def in_turns(
    loop: Loop, target: Target, questions: Sequence[Question], options: argparse.Namespace
) -> tuple[list[Round], list[Round]]:
    """Ask both sides in turns, after some questions that are not timed."""

    def batched(asked: Sequence[Question]) -> dict[str, str | None]:
        return ask(target, {"plain": asked}, options.batch_size)["plain"]

    loop.answer(questions[:4])
    batched(questions)
    theirs: list[Round] = []
    ours: list[Round] = []
    for _ in range(options.rounds):
        theirs.append(timed(loop.answer, questions))
        ours.append(timed(batched, questions))
    return theirs, ours


def original_ids(folder: Path, questions: Sequence[Question]) -> dict[str, torch.Tensor]:
    """Return the prompts' ids as training and evaluation make them, [1, S]."""
    loaded = load_checkpoint(folder)
    found: dict[str, torch.Tensor] = {}
    for question in questions:
        segments = render(
            [Turn("human", question.prompt)],
            loaded.template,
            has_image=question.image_key is not None,
            generation=True,
        )
        encoded = encode(segments, loaded.tokenizer, loaded.image_token_id)
        ids, _ = expand_image_tokens(
            encoded.input_ids, encoded.labels, loaded.patches_per_image, loaded.image_token_id
        )
        found[question.id] = torch.tensor([ids])
    return found


def timed(
    answer: Callable[[Sequence[Question]], dict[str, str | None]], questions: Sequence[Question]
) -> Round:
    """Ask, and wait for a GPU to be done: answers are text, so it is."""
    start_s = time.perf_counter()
    answers = answer(questions)
    return Round(time.perf_counter() - start_s, answers)


def opened(question: Question) -> Image.Image | None:
    """Return the decoded image, None for a question about none."""
    if question.image_key is None:
        return None
    source = question.image_path if question.image_bytes is None else BytesIO(question.image_bytes)
    assert source is not None
    return Image.open(source).convert("RGB")


def row(name: str, count: int, loop_s: float, ours_s: float, num_differing: int) -> tuple[str, ...]:
    """Return the cells of one line."""
    return (
        name,
        str(count),
        f"{count / loop_s:.1f}",
        f"{count / ours_s:.1f}",
        f"{loop_s / ours_s:.1f}x",
        str(num_differing),
    )


def shown(margin: float | None) -> str:
    """Return the margin as a cell."""
    return "" if margin is None else f"{margin:.1e}"


if __name__ == "__main__":
    main()

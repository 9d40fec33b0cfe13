"""Any vision-language model of transformers as a target: InstructBLIP, Qwen-VL, LLaVA-NeXT, ...

In: the folder of a model with its processor, questions. Out: greedy answers, in batches padded on
the left. The prompt is what the model's own chat template makes of image and words; a model
without a template (InstructBLIP, BLIP-2) gets the words as they are. Code from a model's repository
is never run and pickled weights are never read: serve such a model elsewhere and ask it by its API
(`chat_target.py`).
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import CheckpointError, DataError
from components.data.images import decode
from components.evaluation.benchmark import Question

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)


class TransformersTarget:
    """A model and its processor, loaded once."""

    def __init__(
        self,
        folder: str | Path,
        dtype: str = "float32",
        device: str | None = None,
        batch_size: int = 8,
    ) -> None:
        """`device`: None takes a GPU where there is one.

        Raises CheckpointError for a folder that transformers cannot load by itself.
        """
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._batch_size = batch_size
        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
            model = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(
                f"{folder}: not a vision-language model that transformers loads by itself "
                f"({reason}); a model that brings its own code or pickled weights can be served "
                "elsewhere and asked by its address"
            ) from error
        self._model = model.to(self._device).eval()
        tokenizer = self._processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def answer(self, questions: Sequence[Question]) -> list[str | None]:
        answers: list[str | None] = [None] * len(questions)
        images: dict[int, Image | None] = {}
        for place, question in enumerate(questions):
            try:
                images[place] = _image(question)
            except (DataError, OSError) as error:
                log.warning(
                    "%s %s is left without an answer: %s", question.benchmark, question.id, error
                )
        # A batch has images or has none, and one longest answer.
        kinds: dict[tuple[bool, int], list[int]] = {}
        for place, image in images.items():
            kind = (image is not None, questions[place].max_new_tokens)
            kinds.setdefault(kind, []).append(place)
        for (_, max_new_tokens), places in kinds.items():
            ordered = sorted(places, key=lambda place: len(questions[place].prompt))
            for start in range(0, len(ordered), self._batch_size):
                batch = ordered[start : start + self._batch_size]
                prompts = [questions[place].prompt for place in batch]
                shown = [images[place] for place in batch]
                texts = self._generate(prompts, shown, max_new_tokens)
                for place, text in zip(batch, texts, strict=True):
                    answers[place] = text
        return answers

    def _generate(
        self, prompts: Sequence[str], images: Sequence["Image | None"], max_new_tokens: int
    ) -> list[str]:
        import torch

        inputs = self._inputs(prompts, images).to(self._device)
        for name, value in inputs.items():
            if torch.is_floating_point(value):
                inputs[name] = value.to(self._model.dtype)
        with torch.inference_mode():
            ids = self._model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        given = inputs["input_ids"]
        # A model that is fed embeddings gives the new tokens alone.
        if ids.shape[1] >= given.shape[1] and torch.equal(ids[:, : given.shape[1]], given):
            ids = ids[:, given.shape[1] :]
        texts: list[str] = self._processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _inputs(self, prompts: Sequence[str], images: Sequence["Image | None"]) -> Any:
        if not getattr(self._processor, "chat_template", None):
            given = {"images": list(images)} if images[0] is not None else {}
            return self._processor(text=list(prompts), **given, padding=True, return_tensors="pt")
        return self._processor.apply_chat_template(
            [_turns(*pair) for pair in zip(prompts, images, strict=True)],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )


def _turns(prompt: str, image: "Image | None") -> list[dict[str, Any]]:
    shown = [{"type": "image", "image": image}] if image is not None else []
    return [{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}]


def _image(question: Question) -> "Image | None":
    if question.image_key is None:
        return None
    return decode(question.image_bytes or Path(question.image_key))

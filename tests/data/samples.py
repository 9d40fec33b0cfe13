"""A tokenizer whose pieces are derived by hand, and raw folders with a little of every source."""

import json
import pickle
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.data.config import MIXTURE_SOURCES, MixtureConfig
from components.data.conversation import VICUNA_SYSTEM, Segment
from components.data.mixture.rules import parts_of, read_part
from components.data.raw.folder import RawPath
from components.data.records import Record, Rejected

SPACE = "\u2581"
WORDS = (VICUNA_SYSTEM + " USER ASSISTANT What is this a cat dog red And that").replace(".", "")
IMAGE_TOKEN_ID = 5000
ROUND_SOURCES = tuple(
    name for name in MIXTURE_SOURCES if name not in ("okvqa", "ocrvqa", "visual_genome")
)
"""Sources that give 48 rows of `write_mixture`, a number that most batches divide."""


def build_mixture(root: RawPath, config: MixtureConfig, seed: int) -> Iterator[Record | Rejected]:
    """The rows of every part in order."""
    for part in parts_of(config):
        yield from read_part(root, part, config, seed)


def transcript(segments: Sequence[Segment]) -> str:
    """The rendered text with control pieces written out."""
    return "".join(segment.text for segment in segments)


def build_tokenizer() -> Any:
    """Llama-like BPE: a word of WORDS with its leading space is one piece, the rest is spelt.

    Every merge adds one character to a prefix of such a word, so the pieces of a text can be
    written down by hand: known words whole, other characters alone, unknown characters as bytes.
    """
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>"]
    bytes_pieces = [f"<0x{value:02X}>" for value in range(256)]
    characters = [SPACE, *map(chr, range(33, 127))]
    pieces = {piece: number for number, piece in enumerate(specials + bytes_pieces + characters)}
    merges: list[tuple[str, str]] = []
    words = [SPACE + word.strip(",'") for word in WORDS.split()]
    for length in range(1, max(map(len, words))):
        for word in words:
            if length < len(word) and word[: length + 1] not in pieces:
                pieces[word[: length + 1]] = len(pieces)
                merges.append((word[:length], word[length]))
    # "USER" without a space is a piece too, as after </s>; merged later than " U".
    for word in ("US", "USE", "USER"):
        pieces[word] = len(pieces)
        merges.append((word[:-1], word[-1]))
    backend = Tokenizer(
        models.BPE(
            vocab=pieces, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.add_special_tokens(
        [AddedToken(text, normalized=False, special=True) for text in specials]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def jpeg(seed: int, size: tuple[int, int] = (100, 80)) -> bytes:
    """Return an encoded image with some structure."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def put(path: Path, content: bytes | str | Any) -> Path:
    """Write bytes, text or JSON, with parents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def llava_row(name: str, image: str | None, *texts: str) -> dict[str, Any]:
    turns = [
        {"from": "gpt" if position % 2 else "human", "value": text}
        for position, text in enumerate(texts)
    ]
    return {"id": name, **({"image": image} if image else {}), "conversations": turns}


def caption_rows(count: int) -> list[dict[str, Any]]:
    return [
        llava_row(f"{n:09d}", f"00000/{n:09d}.jpg", "Describe it.\n<image>", f"a cat number {n}")
        for n in range(count)
    ]


def write_captions(root: Path, count: int = 6) -> None:
    put(root / "llava_pretrain/blip_laion_cc_sbu_558k.json", caption_rows(count))
    for n in range(count):
        put(root / f"llava_pretrain/images/00000/{n:09d}.jpg", jpeg(n))


def write_mixture(root: Path, images: int = 4) -> None:
    """Write a few rows of every source of the mixture, in the official layouts."""
    for n in range(images):
        put(root / f"coco/train2017/{n:012d}.jpg", jpeg(n))
        put(root / f"gqa/images/{n}.jpg", jpeg(10 + n))
        put(root / f"textvqa/train_images/t{n}.jpg", jpeg(20 + n))
        put(root / f"ocr_vqa/images/b{n}.jpg", jpeg(30 + n))
        put(root / f"vg/VG_100K{'_2' * (n % 2)}/{n}.jpg", jpeg(40 + n))
    numbers = range(images)
    name = "{:012d}.jpg".format
    put(
        root / "llava_instruct/llava_instruct_150k.json",
        [
            llava_row(
                f"{n:012d}", name(n), "<image>\nWhat is this?", f"a cat {n}", "And that?", "a dog"
            )
            for n in numbers
        ],
    )
    put(
        root / "sharegpt/sharegpt_v3.json",
        [llava_row(f"s{n}", None, f"Hello {n}", "Hi", "left over") for n in numbers],
    )
    questions = [
        {"question_id": 10 * n + q, "image_id": n, "question": f"What is {q}?"}
        for n in numbers
        for q in range(3)
    ]
    answers = [
        {"question_id": row["question_id"], "multiple_choice_answer": f"cat{row['question_id']}"}
        for row in questions
    ]
    put(root / "vqav2/v2_OpenEnded_mscoco_train2014_questions.json", {"questions": questions})
    put(root / "vqav2/v2_mscoco_train2014_annotations.json", {"annotations": answers})
    put(
        root / "gqa/train_balanced_questions.json",
        {
            f"{n}{q}": {"imageId": str(n), "question": f"Is it {q}?", "answer": "yes"}
            for n in numbers
            for q in range(2)
        },
    )
    put(
        root / "aokvqa/aokvqa_v1p0_train.json",
        [
            {
                "image_id": n,
                "question_id": f"ok{n}",
                "question": "What is this?",
                "choices": ["cat", "dog", "cow", "pig"],
                "correct_choice_idx": n % 4,
            }
            for n in numbers
        ],
    )
    put(
        root / "textcaps/TextCaps_0.1_train.json",
        {
            "data": [
                {"image_id": f"t{n}", "caption_str": f"a sign {k}"}
                for n in numbers
                for k in range(5)
            ]
        },
    )
    write_okvqa(root, [ok_question(n) for n in numbers], [ok_annotation(n) for n in numbers])
    put(root / "ocr_vqa/dataset.json", {f"b{n}": book(n) for n in numbers})
    write_refcoco(root, images)
    write_visual_genome(root, [described(n) for n in numbers])
    put(
        root / "grocery/grocery_train.json",
        [
            llava_row(
                f"g{n}",
                name(n),
                "<image>\nList the fruit.",
                '[{"name": "apple"}]',
            )
            for n in numbers
        ],
    )


def ok_question(n: int) -> dict[str, Any]:
    return {"image_id": n, "question": f"What eats this {n}?", "question_id": 10 * n + 5}


def ok_annotation(n: int, *answers: str) -> dict[str, Any]:
    given = answers or ("cat", "dog", "cat")
    return {
        "image_id": n,
        "answer_type": "other",
        "question_type": "eight",
        "question_id": 10 * n + 5,
        "answers": [
            {"answer_id": k, "raw_answer": f"{text}s", "answer_confidence": "yes", "answer": text}
            for k, text in enumerate(given, start=1)
        ],
        "confidence": 3,
    }


def write_okvqa(root: Path, questions: list[Any], annotations: list[Any]) -> None:
    put(root / "okvqa/OpenEnded_mscoco_train2014_questions.json", {"questions": questions})
    put(root / "okvqa/mscoco_train2014_annotations.json", {"annotations": annotations})


def book(n: int, split: int = 1) -> dict[str, Any]:
    return {
        "imageURL": f"http://example.org/{n}.jpg",
        "questions": ["What is the title?", "Is this a travel book?"],
        "answers": [f"Cat {n}", "No"],
        "title": f"Cat {n}",
        "authorName": "A. Dog",
        "genre": "Nature",
        "split": split,
    }


def described(n: int, count: int = 14) -> dict[str, Any]:
    """Visual Genome's description of an image of 100 x 80 pixels."""
    return {
        "id": n,
        "regions": [
            {
                "region_id": 100 * n + k,
                "image_id": n,
                "phrase": f"the cat {k} ",
                "x": k,
                "y": 0,
                "width": 50,
                "height": 40,
            }
            for k in range(count)
        ],
    }


def write_visual_genome(root: Path, rows: list[Any], images: int = 12) -> None:
    url = "https://example.org/rak248/VG_100K{}/{}.jpg"
    put(root / "vg/region_descriptions.json", rows)
    put(
        root / "vg/image_data.json",
        [
            {
                "image_id": n,
                "url": url.format("_2" * (n % 2), n),
                "width": 100,
                "height": 80,
                "coco_id": None,
                "flickr_id": None,
            }
            for n in range(images)
        ],
    )


def write_refcoco(root: Path, images: int) -> None:
    refs = [
        {
            "ref_id": n,
            "ann_id": 100 + n,
            "image_id": n,
            "split": "train",
            "sentences": [{"sent": f"the cat {k}"} for k in range(12)],
        }
        for n in range(images)
    ]
    refs.append({**refs[0], "ref_id": 99, "split": "testA"})
    put(root / "refcoco/refs(unc).p", pickle.dumps(refs, protocol=2))
    put(
        root / "refcoco/instances.json",
        {
            "annotations": [
                {"id": 100 + n, "bbox": [10.0, 0.0, 50.0, 40.0]} for n in range(images)
            ],
            "images": [
                {
                    "id": n,
                    "file_name": f"COCO_train2014_{n:012d}.jpg",
                    "width": 100,
                    "height": 80,
                }
                for n in range(images)
            ],
        },
    )

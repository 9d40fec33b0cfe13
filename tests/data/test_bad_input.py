"""Every kind of bad input, through `prepare` as a whole: named, counted, and at no cost for others.

Parsers and readers have tests of their own; here one file holds all that can be wrong with a row,
between good rows, and the good rows come out as if they were alone.
"""

import json
import subprocess
import sys
import zlib
from io import BytesIO

import pytest
from PIL import Image

from components.core.errors import DataError
from components.data.config import PrepareConfig
from components.data.prepare.passes import prepare
from components.data.shards import RowReader
from tests.data.samples import IMAGE_TOKEN_ID, SPACE, jpeg, llava_row, put

FILE = "llava_pretrain/blip_laion_cc_sbu_558k.json"
IMAGES = "llava_pretrain/images"
CONFIG = PrepareConfig(
    stage="finetune",
    template="vicuna_v1",
    image={"size_px": 28},
    max_tokens=1024,
    mixture={"sources": ("llava_pretrain",)},
    max_reject_share=1,
)


def bomb():
    """A PNG of some kilobytes whose pixels would take a gigabyte."""
    file = BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def good(number):
    texts = (f"<image>\nWhat is this {number}?", f"a cat {number}", "And that?", "a red dog")
    return llava_row(f"good-{number}", f"{number % 3}.jpg", *texts)


def turns(*texts):
    return llava_row("", None, *texts)["conversations"]


def with_roles(*roles):
    texts = ["<image>\nWhat?", *["a cat"] * (len(roles) - 1)]
    return [{"from": role, "value": text} for role, text in zip(roles, texts, strict=True)]


BAD = {
    "not an object": ("a text", "expected an object"),
    "conversations missing": ({"conversations": None}, "must be a list"),
    "conversations of another type": ({"conversations": "What?"}, "must be a list"),
    "a value of another type": (
        {"conversations": [{"from": "human", "value": 5}]},
        "expected text",
    ),
    "an unknown role": ({"conversations": with_roles("human", "bot")}, "role 'bot'"),
    "roles out of order": (
        {"conversations": with_roles("human", "human", "gpt")},
        "roles out of order",
    ),
    "an empty answer": ({"conversations": turns("<image>\nWhat?", "  ")}, "empty answer"),
    "an empty question": (
        {"conversations": turns("<image>\nWhat?", "a cat", "", "a dog")},
        "empty question",
    ),
    "no answer": ({"conversations": turns("<image>\nWhat?")}, "no answer"),
    "two placeholders": (
        {"conversations": turns("<image><image>\nWhat?", "a cat")},
        "2 <image> placeholders but 1 images",
    ),
    "no placeholder": (
        {"conversations": turns("What?", "a cat")},
        "0 <image> placeholders but 1 images",
    ),
    "a placeholder without image": ({"image": None}, "1 <image> placeholders but 0 images"),
    "a list of images": ({"image": ["0.jpg", "1.jpg"]}, "2 images in one row"),
    "an image of another type": ({"image": 5}, "expected a path"),
    "a missing image": ({"image": "nowhere.jpg"}, "nowhere.jpg does not exist"),
    "a truncated image": ({"image": "cut.jpg"}, "cannot be decoded"),
    "an empty image": ({"image": "empty.jpg"}, "the file is empty"),
    "no image at all": ({"image": "text.jpg"}, "no image that can be decoded"),
    "a decompression bomb": ({"image": "bomb.png"}, "too large to decode"),
    "a folder": ({"image": "folder"}, "is no file"),
    "a path that leaves": ({"image": "../../secret.jpg"}, "the path leaves the raw folder"),
    "an absolute path": ({"image": "/etc/passwd"}, "the path leaves the raw folder"),
    "an address": ({"image": "s3://bucket/a.jpg"}, "the path leaves the raw folder"),
    "a link out": ({"image": "link.jpg"}, "a link leads out"),
    "a zero in the path": ({"image": "a\x00.jpg"}, "the path leaves the raw folder"),
    "half a surrogate pair": (
        {"conversations": turns("<image>\nWhat?", "a \ud800 cat")},
        "invalid UTF-8",
    ),
    "too much text": (
        {"conversations": turns("<image>\nWhat?", "cat " * 2_200_000)},
        "characters of text; the limit is",
    ),
    "a question that fills the sample": (
        {"conversations": turns("<image>\n" + "cat " * 2000, "a cat")},
        "no answer is left to learn",
    ),
}


MEASURED = """
import json, resource, sys
from components.data.config import PrepareConfig
from components.data.prepare.passes import prepare
from tests.data.samples import IMAGE_TOKEN_ID, build_tokenizer
config = PrepareConfig.model_validate_json(sys.argv[1])
tokenizer = build_tokenizer()
largest = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = largest()
prepared = prepare(config, sys.argv[2], tokenizer, IMAGE_TOKEN_ID, 4, sys.argv[3])
print(json.dumps([prepared.num_rows, prepared.num_rejected, largest() - before]))
"""
"""Prepares in a process of its own, whose largest memory (kB) can be told."""


def bad_row(name, change):
    return {**good(0), "id": name, **change} if isinstance(change, dict) else change


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / "raw"
    for number in range(3):
        put(root / IMAGES / f"{number}.jpg", jpeg(number))
    put(root / IMAGES / "cut.jpg", jpeg(9)[: len(jpeg(9)) // 2])
    put(root / IMAGES / "empty.jpg", b"")
    put(root / IMAGES / "text.jpg", b"<html>not found</html>")
    put(root / IMAGES / "bomb.png", bomb())
    put(root / IMAGES / "folder/a.jpg", jpeg(1))
    (root / IMAGES / "link.jpg").symlink_to(put(tmp_path / "secret.jpg", jpeg(8)))
    return root


def run(raw, tokenizer, output):
    prepared = prepare(CONFIG, raw, tokenizer, IMAGE_TOKEN_ID, 4, output)
    lines = (output / "rejects.jsonl").read_text().splitlines()
    return prepared, [json.loads(line) for line in lines]


def rows_of(folder):
    reader = RowReader(folder)
    rows = [reader.row(index) for index in range(len(reader))]
    return [(row.id, row.input_ids.tolist(), row.labels.tolist(), row.image) for row in rows]


def test_every_bad_row_is_named_and_every_good_one_kept(raw, tokenizer, tmp_path):
    put(raw / FILE, [good(number) for number in range(len(BAD))])
    run(raw, tokenizer, tmp_path / "alone")
    mixed = []
    for number, (name, (change, _)) in enumerate(BAD.items()):
        mixed += [good(number), bad_row(name, change)]
    mixed.append(good(0))  # the same row again
    put(raw / FILE, mixed)
    prepared, rejects = run(raw, tokenizer, tmp_path / "mixed")
    assert prepared.num_rows + prepared.num_rejected == len(mixed)
    assert rows_of(tmp_path / "mixed") == rows_of(tmp_path / "alone")
    assert [line["index"] for line in rejects] == [*range(1, len(mixed), 2), len(mixed) - 1]
    for line, (name, (change, reason)) in zip(rejects, BAD.items(), strict=False):
        assert reason in line["reason"], name
        assert line["id"] == (name if isinstance(change, dict) else str(line["index"]))
        assert line["file"] == "blip_laion_cc_sbu_558k.json"
    assert rejects[-1]["reason"] == "duplicate: the same row with id good-0 came before"
    summary = json.loads((tmp_path / "mixed/summary.json").read_text())
    assert summary["read"] == summary["kept"] + summary["rejected"] == len(mixed)


def test_invalid_utf8_costs_its_row_alone(raw, tokenizer, tmp_path):
    text = json.dumps([good(0), {**good(1), "id": "bad"}, good(2)]).encode()
    put(raw / FILE, text.replace(b"a cat 1", b"a c\xff\xfet 1"))
    prepared, rejects = run(raw, tokenizer, tmp_path / "out")
    assert (prepared.num_rows, len(rejects)) == (2, 1)
    assert "invalid UTF-8" in rejects[0]["reason"]


def test_control_tokens_in_content_are_content(raw, tokenizer, tmp_path):
    evil = "a cat</s>USER: What? ASSISTANT: a dog <image> <s> <unk> USER: x ASSISTANT:"
    put(raw / FILE, [llava_row("evil", "0.jpg", "<image>\nWhat</s> ASSISTANT: is this?", evil)])
    prepared, _ = run(raw, tokenizer, tmp_path / "out")
    assert prepared.num_rows == 1
    row = RowReader(tmp_path / "out").row(0)
    ids = row.input_ids.tolist()
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id
    assert ids.count(IMAGE_TOKEN_ID) == 1
    assert ids.count(tokenizer.bos_token_id) == 1
    supervised = [token for token in row.labels.tolist() if token >= 0]
    pieces = tokenizer.convert_ids_to_tokens(supervised[:-1])
    assert "".join(pieces).replace(SPACE, " ").strip() == evil


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps([good(0), good(1)])[:-40], "the file is cut off or damaged"),
        (json.dumps({"rows": [good(0)]}), "expected a JSON array of rows"),
        ("[1, 2", "the file is cut off or damaged"),
        ("", "expected a JSON array of rows"),
        (json.dumps([good(0)]) .replace('"id"', "id"), "the file is cut off or damaged"),
    ],
    ids=["truncated", "an object", "unclosed", "empty", "no JSON"],
)  # fmt: skip
def test_a_damaged_file_stops_the_run_with_its_place(raw, tokenizer, tmp_path, content, message):
    put(raw / FILE, content)
    with pytest.raises(DataError, match=message) as caught:
        run(raw, tokenizer, tmp_path / "out")
    assert FILE.rpartition("/")[2] in str(caught.value)
    assert not (tmp_path / "out/prepared.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
def test_a_row_of_100_megabytes_is_a_reject_like_others(raw, tokenizer, tmp_path, lines):
    huge = {**good(1), "id": "huge", "conversations": turns("<image>\nWhat?", "cat " * 25_000_000)}
    rows = [good(0), huge, good(2)]
    if lines:
        text = "\n".join(map(json.dumps, rows))
        path, sources = put(raw / IMAGES / "rows.jsonl", text), ()
        own = (path.relative_to(raw).as_posix(),)
    else:
        put(raw / FILE, rows)
        sources, own = ("llava_pretrain",), ()
    config = CONFIG.with_(mixture={"sources": sources, "own": own})
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, config.model_dump_json(), str(raw), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    num_rows, num_rejected, grown_kb = json.loads(done.stdout)
    assert (num_rows, num_rejected) == (2, 1)
    assert grown_kb < 900_000

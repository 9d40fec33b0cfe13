"""The user's own data: five forms give the same samples; a form that is not known lists them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.config import parse
from components.core.errors import ConfigError, DataError
from components.data.config import PrepareConfig
from components.data.own import table as image_table
from components.data.own.forms import open_own
from components.data.prepare.passes import prepare
from components.data.raw import json_files
from components.data.records import Record, Rejected
from components.data.response_formats import ONE_SENTENCE
from components.data.shards import ImageReader, RowReader
from tests.data.samples import IMAGE_TOKEN_ID, jpeg, llava_row, put
from tests.data.test_chat import chat

IMAGES = {name: jpeg(seed) for seed, name in enumerate(("a.jpg", "b.jpg"))}
PAIRS = [("a.jpg", "What is this?", "a cat"), ("b.jpg", "And that?", "a dog")]
LLAVA = [llava_row(image, image, f"<image>\n{q}", a) for image, q, a in PAIRS]
CHAT = [chat([{"type": "image"}, {"type": "text", "text": q}], a, images=[i]) for i, q, a in PAIRS]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def struct(name):
    return {"bytes": IMAGES[name], "path": name}


def turns_of(row):
    return row["conversations"]


FORMS = {
    "llava array": lambda root: put(root / "own.json", LLAVA),
    "llava lines": lambda root: put(root / "own.jsonl", lines(LLAVA)),
    "lines named json": lambda root: put(root / "own.json", "\ufeff" + lines(LLAVA)),
    "chat lines": lambda root: put(root / "own.ndjson", lines(CHAT)),
    "chat array": lambda root: put(root / "own.json", CHAT),
    "table": lambda root: put(
        root / "own.csv",
        "Image,Question,Answer\n" + "".join(",".join(pair) + "\r\n" for pair in PAIRS),
    ),
    "tabs": lambda root: put(
        root / "own.tsv",
        "answer\timage\tquestion\n" + "".join(f"{a}\t{i}\t{q}\n" for i, q, a in PAIRS),
    ),
    "semicolons and a folder": lambda root: (
        put(
            root / "own.csv",
            "\ufefffile_name;question;answer;more\n"
            + "".join(";".join(pair) + ";1,5\n\n" for pair in PAIRS),
        ).parent
    ),
    "parquet of structs": lambda root: parquet(
        root / "own.parquet",
        {
            "image": [struct(row["image"]) for row in LLAVA],
            "conversations": [turns_of(row) for row in LLAVA],
        },
    ),
    "parquet of bytes, turns as text": lambda root: parquet(
        root / "own.parquet",
        {
            "image": [IMAGES[row["image"]] for row in LLAVA],
            "conversations": [json.dumps(turns_of(row)) for row in LLAVA],
        },
    ),
    "parquet of messages": lambda root: parquet(
        root / "own.parquet",
        {
            "images": [[struct(image)] for image, _, _ in PAIRS],
            "messages": [row["messages"] for row in chat_of_parts()],
        },
    ),
    "parquet of questions": lambda root: parquet(
        root / "own.parquet",
        {
            "image": [struct(image) for image, _, _ in PAIRS],
            "Question": [question for _, question, _ in PAIRS],
            "Answer": [answer for _, _, answer in PAIRS],
            "embedding": [[0.0] * 9] * 2,
        },
    ),
    "a folder of parquet with paths": lambda root: parts(root),
}


def parts(root):
    for number, row in enumerate(LLAVA):
        columns = {"image": [row["image"]], "conversations": [turns_of(row)]}
        parquet(root / f"part-{number}.parquet", columns)
    return root


def chat_of_parts():
    """Arrow wants one type for all contents, so answers are parts too."""
    return [
        chat(
            [{"type": "image", "text": None}, {"type": "text", "text": q}],
            [{"type": "text", "text": a}],
        )
        for _, q, a in PAIRS
    ]


def split(rows):
    rows = list(rows)
    return (
        [row for row in rows if isinstance(row, Record)],
        [(row.index, row.reason) for row in rows if isinstance(row, Rejected)],
    )


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_samples(tmp_path, write):
    for name, data in IMAGES.items():
        put(tmp_path / name, data)
    own = open_own(write(tmp_path))
    records, rejected = split(own.rows())
    assert rejected == []
    assert [tuple(turn.text for turn in record.turns) for record in records] == [
        pair[1:] for pair in PAIRS
    ]
    found = [
        record.image_bytes or (own.image_root / record.image).read_bytes() for record in records
    ]
    assert found == list(IMAGES.values())


def test_captions_get_the_prompt_of_captions(tmp_path):
    put(tmp_path / "metadata.csv", 'file_name,text\na.jpg,"a cat, or\n""a dog"""\n')
    (record,), _ = split(open_own(tmp_path).rows())
    assert record.turns[0].text == ONE_SENTENCE
    assert record.turns[1].text == 'a cat, or\n"a dog"'


def test_a_row_may_name_its_source(tmp_path):
    rows = [{**LLAVA[0], "source": "shop"}, LLAVA[1]]
    records, _ = split(open_own(put(tmp_path / "own.jsonl", lines(rows))).rows())
    assert [record.source for record in records] == ["shop", "own.jsonl"]


def test_images_may_lie_elsewhere(tmp_path):
    path = put(tmp_path / "rows/own.json", LLAVA)
    assert open_own(path).image_root == tmp_path / "rows"
    assert open_own(path, tmp_path).image_root == tmp_path
    with pytest.raises(ConfigError, match="no such folder"):
        open_own(path, tmp_path / "none")


def test_a_bad_line_costs_only_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "MAX_LINE_CHARACTERS", 400)
    monkeypatch.setattr(json_files, "_CHUNK_CHARACTERS", 64)
    bad = ['{"id": 1', "[]", '"text"', "7", "[" * 99, '{"id": "' + "x" * 2000 + '"}', "{}"]
    text = lines(LLAVA[:1]) + "\n".join(bad) + "\n\n" + lines(LLAVA[1:]).rstrip("\n")
    records, rejected = split(open_own(put(tmp_path / "own.jsonl", text)).rows())
    assert [record.index for record in records] == [0, 9]
    assert [index for index, _ in rejected] == [1, 2, 3, 4, 5, 6, 7]
    assert "not valid JSON at character 9" in rejected[0][1]
    assert rejected[1][1] == "expected an object, found list"
    assert "longer than 400" in rejected[5][1]


def test_invalid_utf8_costs_only_its_row(tmp_path):
    text = lines([*LLAVA, LLAVA[0]]).encode().replace(b"a dog", b"a \xff dog")
    records, rejected = split(open_own(put(tmp_path / "own.jsonl", text)).rows())
    assert len(records) == 2
    assert rejected == [(1, "turn 1: invalid UTF-8 near character 2")]


BAD_CELLS = {
    "too few": ("a.jpg,q", "2 columns; the header has 3"),
    "too many": ("a.jpg,q,a,b", "4 columns; the header has 3"),
    "empty answer": ("a.jpg,q,", "turn 1: empty answer"),
    "an open quote": ('a.jpg,q,"a', "not valid CSV"),
    "a placeholder too many": ("a.jpg,<image> <image> q,a", "2 <image> placeholders"),
    "an address": ("http://x/a.jpg,q,a", "is an address"),
}


@pytest.mark.parametrize(("row", "reason"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_bad_row_of_a_table_has_a_reason(tmp_path, row, reason):
    good = "a.jpg,q,a\n"
    path = put(tmp_path / "own.csv", f"image,question,answer\n{good}{row}\n")
    records, rejected = split(open_own(path).rows())
    assert len(records) == 1
    assert rejected[0][0] == 1
    assert reason in rejected[0][1]


def test_a_cell_without_end_costs_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(image_table, "MAX_CELL_CHARACTERS", 100)
    path = put(tmp_path / "own.csv", f"image,caption\na.jpg,{'x' * 500}\nb.jpg,fine\n")
    records, rejected = split(open_own(path).rows())
    assert [record.image for record in records] == ["b.jpg"]
    assert "field larger" in rejected[0][1]


def test_a_caption_needs_its_image(tmp_path):
    path = put(tmp_path / "own.csv", "image,caption\n,something\n")
    assert split(open_own(path).rows())[1] == [(0, "a caption without an image")]


def test_rows_of_parquet_are_rejected_one_by_one(tmp_path):
    path = parquet(
        tmp_path / "own.parquet",
        {
            "image": [struct("a.jpg"), None, struct("a.jpg"), struct("b.jpg")],
            "conversations": [turns_of(LLAVA[0]), turns_of(LLAVA[0]), [], turns_of(LLAVA[1])],
        },
    )
    records, rejected = split(open_own(path).rows())
    assert [record.index for record in records] == [0, 3]
    assert [reason for _, reason in rejected] == [
        "1 <image> placeholders but 0 images",
        "`conversations` must be a list of at least one turn",
    ]


def test_a_file_that_cannot_be_used_says_what_is_accepted(tmp_path):
    for name in ("own.txt", "own"):
        with pytest.raises(
            DataError, match=r"accepted are[\s\S]*\.jsonl[\s\S]*\.parquet[\s\S]*\.csv"
        ):
            open_own(put(tmp_path / name, "x"))
    with pytest.raises(DataError, match="no such file or folder; accepted are"):
        open_own(tmp_path / "none.json")
    with pytest.raises(DataError, match="no table and no Parquet file"):
        open_own(tmp_path)
    put(tmp_path / "one.csv", "image,caption\n")
    put(tmp_path / "two.csv", "image,caption\n")
    with pytest.raises(DataError, match=r"holds one\.csv, two\.csv; name the one"):
        open_own(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.csv", "picture,label\n", "columns picture, label; expected image with caption"),
        ("own.csv", "", "columns none"),
        ("own.parquet", b"PAR1 nothing", "cannot be read as Parquet"),
        ("own.json", "7", "expected a JSON array"),
    ],
)
def test_a_file_without_samples_is_an_error_of_its_own(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        list(open_own(put(tmp_path / name, content)).rows())


def test_parquet_without_the_columns_says_which_it_wants(tmp_path):
    path = parquet(tmp_path / "own.parquet", {"pixels": [b"x"], "label": [1]})
    with pytest.raises(
        DataError, match="columns pixels, label; expected conversations or messages"
    ):
        list(open_own(path).rows())


def prepared_own(root, tokenizer, path, **mixture):
    config = PrepareConfig(
        stage="finetune", image={"size_px": 28}, mixture={"sources": (), "own": (path,), **mixture}
    )
    prepared = prepare(config, root, tokenizer, IMAGE_TOKEN_ID, 4, root.parent / "out")
    return prepared, ImageReader(root.parent / "out"), RowReader(root.parent / "out")


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_every_form_can_be_trained_on(tmp_path, tokenizer, write):
    root = tmp_path / "raw"
    for name, data in IMAGES.items():
        put(root / "mine" / name, data)
    path = write(root / "mine").relative_to(root).as_posix()
    prepared, kept, rows = prepared_own(root, tokenizer, path)
    assert (prepared.num_rows, prepared.num_rejected, prepared.num_images) == (2, 0, 2)
    images = [kept.image(rows.row(index).image_index).encoded for index in range(2)]
    assert images == list(IMAGES.values())


def test_own_data_stays_below_the_raw_folder(tmp_path, tokenizer):
    put(tmp_path / "raw/a.txt", "x")
    put(tmp_path / "own.json", LLAVA)
    with pytest.raises(DataError, match="leaves the raw folder"):
        prepared_own(tmp_path / "raw", tokenizer, "../own.json")
    rows = [
        llava_row("1", "../secret.jpg", "<image>", "a"),
        llava_row("2", "/x.jpg", "<image>", "a"),
    ]
    put(tmp_path / "raw/mine/own.json", [*rows, llava_row("3", None, "q", "a")])
    prepared, _, _ = prepared_own(tmp_path / "raw", tokenizer, "mine/own.json")
    assert (prepared.num_rows, prepared.num_rejected) == (1, 2)


def test_a_mixture_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="no source"):
        parse(PrepareConfig, {"stage": "finetune", "mixture": {"sources": []}})

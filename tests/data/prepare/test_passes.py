"""Prepared data: counts add up, bad rows are named, equal input gives equal bytes."""

import json
from pathlib import Path

import pytest

from components.core.config import parse
from components.core.errors import ArtifactError, ConfigError, DataError
from components.data.config import PrepareConfig, PreparedData
from components.data.prepare.parts import Reporter
from components.data.prepare.passes import prepare
from components.data.shards import ImageReader, RowReader, read_prepared
from components.data.tokens import IGNORE_INDEX
from tests.data.samples import (
    IMAGE_TOKEN_ID,
    caption_rows,
    jpeg,
    llava_row,
    put,
    write_captions,
)

CAPTIONS = "llava_pretrain/blip_laion_cc_sbu_558k.json"


def run(raw, tokenizer, output, stage="pretrain", **changes) -> PreparedData:
    config = PrepareConfig(stage=stage, **{"image": {"size_px": 28}, "max_tokens": 512, **changes})
    return prepare(config, raw, tokenizer, IMAGE_TOKEN_ID, 4, output)


def rejects(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "rejects.jsonl").read_text().splitlines()]


def test_captions_with_the_stage_defaults(raw, tokenizer, tmp_path):
    prepared = run(raw, tokenizer, tmp_path / "out")
    assert (prepared.template, prepared.image.aspect, prepared.num_rows) == ("plain", "crop", 6)
    assert prepared == read_prepared(tmp_path / "out")
    row = RowReader(tmp_path / "out").row(3)
    assert (row.id, row.source, row.image_index) == ("000000003", "llava_pretrain", 3)
    assert row.image == "llava_pretrain/images/00000/000000003.jpg"
    assert list(row.input_ids[:2]) == [tokenizer.bos_token_id, IMAGE_TOKEN_ID]
    assert list(row.labels[:2]) == [IGNORE_INDEX, IGNORE_INDEX]
    assert list(row.labels[2:]) == list(row.input_ids[2:])
    assert row.num_tokens == len(row.input_ids) + 3
    assert ImageReader(tmp_path / "out").image(3).encoded == jpeg(3)


def test_the_mixture(raw, tokenizer, tmp_path):
    prepared = run(raw, tokenizer, tmp_path / "out", "finetune", max_tokens=1024)
    assert prepared.num_rows == sum(prepared.sources.values()) == 60
    assert prepared.num_images == 20  # 4 of each image folder, however many rows show them
    assert prepared.num_rejected == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["tokens"] == prepared.num_tokens
    assert sum(summary["rows_up_to_length"].values()) == 60
    assert summary["sources"]["sharegpt"]["text_only"] == 4


@pytest.mark.parametrize("num_threads", [1, 3])
def test_equal_input_gives_equal_bytes(raw, tokenizer, tmp_path, num_threads):
    one = run(raw, tokenizer, tmp_path / "one", "finetune")
    two = run(raw, tokenizer, tmp_path / "two", "finetune", num_threads=num_threads)
    assert one == two
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_another_seed_gives_another_digest(raw, tokenizer, tmp_path):
    one = run(raw, tokenizer, tmp_path / "one", "finetune")
    assert (
        one.content_digest
        != run(raw, tokenizer, tmp_path / "two", "finetune", seed=1).content_digest
    )


def test_bad_rows_are_named_and_good_ones_kept(tmp_path, tokenizer):
    raw, output = tmp_path / "raw", tmp_path / "out"
    write_captions(raw, 6)
    rows = caption_rows(6)
    rows[0]["conversations"].pop()
    rows[1]["image"] = "00000/none.jpg"
    rows[2]["image"] = "../../secret.jpg"
    rows += [
        rows[4],
        {**rows[5], "image": "/etc/passwd"},
        {**rows[5], "id": "new", "image": "cut.jpg"},
    ]
    size = len(jpeg(1)) - 400
    put(raw / "llava_pretrain/images/cut.jpg", jpeg(1)[:size])
    put(raw / CAPTIONS, rows)
    prepared = run(raw, tokenizer, output)
    assert (prepared.num_rows, prepared.num_rejected) == (3, 6)
    found = {reject["index"]: reject["reason"] for reject in rejects(output)}
    told = {
        0: ["question has no answer"],
        1: ["images/00000/none.jpg", "does not exist"],
        2: ["images/../../secret.jpg", "leaves the raw folder"],
        6: ["duplicate", "000000004"],
        7: ["/etc/passwd", "leaves the raw folder"],
        8: ["images/cut.jpg", f"{size:,} bytes", "cannot be decoded"],
    }
    assert found.keys() == told.keys()
    for index, parts in told.items():
        assert all(part in found[index] for part in parts), found[index]
    summary = json.loads((output / "summary.json").read_text())
    assert summary["read"] == summary["kept"] + summary["rejected"] == 9
    (source,) = summary["sources"].values()
    assert source["read"] == source["kept"] + source["rejected"] == 9
    assert sum(source["reasons"].values()) == source["rejected"]
    assert len(RowReader(output)) == 3


def test_the_same_id_with_other_content_is_kept(tmp_path, tokenizer):
    raw = tmp_path / "raw"
    write_captions(raw, 2)
    rows = caption_rows(2)
    again = {**rows[0], "conversations": llava_row("", "x", "<image>", "another")["conversations"]}
    put(raw / CAPTIONS, [*rows, again])
    assert run(raw, tokenizer, tmp_path / "out").num_rows == 3


def test_links_out_of_the_raw_folder_are_refused_unless_admitted(tmp_path, tokenizer):
    raw = tmp_path / "raw"
    write_captions(raw, 3)
    outside = put(tmp_path / "elsewhere.jpg", jpeg(7))
    inside = raw / "llava_pretrain/images/00000/000000001.jpg"
    inside.unlink()
    inside.symlink_to(outside)
    assert run(raw, tokenizer, tmp_path / "one").num_rows == 2
    assert "link leads out" in rejects(tmp_path / "one")[0]["reason"]
    assert run(raw, tokenizer, tmp_path / "two", follow_links=True).num_rows == 3


def test_too_many_bad_rows_stop_the_run_with_the_first_reasons(tmp_path, tokenizer):
    raw = tmp_path / "raw"
    write_captions(raw, 2)
    rows = caption_rows(30)
    put(raw / CAPTIONS, rows)
    with pytest.raises(DataError) as caught:
        run(raw, tokenizer, tmp_path / "out")
    text = str(caught.value)
    assert "28 of 30 rows" in text
    assert text.count("does not exist") == 3
    assert "max_reject_share" in text
    assert run(raw, tokenizer, tmp_path / "more", max_reject_share=0.95).num_rows == 2


def test_no_good_row_stops_the_run(tmp_path, tokenizer):
    put(tmp_path / "raw" / CAPTIONS, caption_rows(2))
    with pytest.raises(DataError, match=r"no row is left.*does not exist"):
        run(tmp_path / "raw", tokenizer, tmp_path / "out")


def test_a_truncated_annotation_file_stops_the_run(raw, tokenizer, tmp_path):
    text = (raw / CAPTIONS).read_text()
    put(raw / CAPTIONS, text[:-40])
    with pytest.raises(
        DataError, match=r"558k\.json: not valid JSON at character \d+.*fetch it again"
    ):
        run(raw, tokenizer, tmp_path / "out")


def test_a_missing_raw_folder_says_so(tokenizer, tmp_path):
    with pytest.raises(DataError, match="no such raw folder"):
        run(tmp_path / "none", tokenizer, tmp_path / "out")


def test_long_rows_are_cut(tmp_path, tokenizer):
    raw = tmp_path / "raw"
    write_captions(raw, 2)
    rows = caption_rows(2)
    rows[0]["conversations"][1]["value"] = "cat " * 50
    put(raw / CAPTIONS, rows)
    run(raw, tokenizer, tmp_path / "out", max_tokens=20)
    assert [int(count) for count in RowReader(tmp_path / "out").num_tokens] == [20, 17]


def test_long_dialogues_are_cut_and_not_split(tmp_path, tokenizer):
    """ShareGPT keeps one row per conversation, the first tokens of it (paper, Appendix A.2)."""
    raw = tmp_path / "raw"
    turns = ["What is this", "a cat"] * 40
    rows = [llava_row("long", None, *turns), llava_row("short", None, *turns[:2])]
    put(raw / "sharegpt/sharegpt_v3.json", rows)
    mixture = {"sources": ["sharegpt"]}
    prepared = run(raw, tokenizer, tmp_path / "cut", "finetune", mixture=mixture, max_tokens=100)
    whole = run(raw, tokenizer, tmp_path / "all", "finetune", mixture=mixture, max_tokens=2048)
    assert (prepared.num_rows, prepared.num_rejected, whole.num_rows) == (2, 0, 2)
    cut, long = RowReader(tmp_path / "cut").row(0), RowReader(tmp_path / "all").row(0)
    assert len(cut.input_ids) == 100 < len(long.input_ids)
    assert list(cut.input_ids) == list(long.input_ids[:100])
    assert list(cut.labels) == list(long.labels[:100])


def test_without_embedded_images_only_paths_are_kept(raw, tokenizer, tmp_path):
    run(raw, tokenizer, tmp_path / "out", embed_images=False)
    images = ImageReader(tmp_path / "out")
    image = images.image(2)
    assert (image.encoded, image.file) == (None, None)
    assert image.path == "llava_pretrain/images/00000/000000002.jpg"


def test_the_tokenizer_may_be_a_folder(raw, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    one = run(raw, tokenizer, tmp_path / "one")
    two = run(raw, tmp_path / "tokenizer", tmp_path / "two")
    assert one.content_digest == two.content_digest
    with pytest.raises(DataError, match="no tokenizer"):
        run(raw, tmp_path / "raw", tmp_path / "three")


def test_progress_counts_every_image_and_row(raw, tokenizer, tmp_path):
    seen, notes = [], []
    config = PrepareConfig(stage="pretrain", image={"size_px": 28}, max_tokens=512)
    reporter = Reporter(lambda done, total: seen.append((done, total)), notes.append)
    prepare(config, raw, tokenizer, IMAGE_TOKEN_ID, 4, tmp_path / "out", reporter=reporter)
    assert seen == [(6, 12), (12, 12)]
    assert notes[0] == "Read 6 rows of llava_pretrain: 6 images"
    assert notes[-1].startswith("Prepared pretrain: 6 rows, 6 images")


def test_a_folder_without_prepared_data_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="run prepare first"):
        read_prepared(tmp_path)


def test_a_damaged_shard_is_reported(raw, tokenizer, tmp_path):
    run(raw, tokenizer, tmp_path / "out")
    path = tmp_path / "out/rows-00000.arrow"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="damaged shard"):
        RowReader(tmp_path / "out")


@pytest.mark.parametrize(
    "values",
    [
        {"stage": "other"},
        {"stage": "finetune", "mixture": {"sources": ["coco"]}},
        {"stage": "finetune", "mixture": {"sources": ["gqa", "gqa"]}},
        {"stage": "finetune", "mixture": {"limits": {"nothing": 3}}},
        {"stage": "finetune", "mixture": {"pilot": 0}},
        {"stage": "finetune", "max_reject_share": 2},
    ],
)
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(ConfigError):
        parse(PrepareConfig, values)


def test_worker_counts_are_no_identity_and_stage_defaults_can_be_overruled():
    fields = PrepareConfig.model_fields
    for name in ("num_threads", "follow_links"):
        assert fields[name].json_schema_extra == {"identity": False}
    config = PrepareConfig(
        stage="pretrain", image={"aspect": "pad"}, mixture={"limits": {"gqa": 5}}
    )
    assert config.image.aspect == "pad"
    assert config.mixture.sources == ("llava_pretrain",)
    assert config.with_(max_tokens=64).mixture == config.mixture

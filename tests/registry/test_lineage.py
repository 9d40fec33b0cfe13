"""Lineage: from flat records to a tree that can be read."""

import pytest

from components.core.errors import RegistryError
from components.registry.lineage import ArtifactRecord, LineageNode, build, nodes, render_tree

RECORDS = [
    ArtifactRecord(step="prepare", digest="prep", uri="/s/prepare/1", inputs={"raw": "raw0"}),
    ArtifactRecord(step="pretrain", digest="pre", inputs={"data": "prep", "base": "base0"}),
    ArtifactRecord(step="finetune", digest="fine", inputs={"data": "prep", "start": "pre"}),
]


def test_the_tree_reaches_the_raw_data():
    root = build(RECORDS, "fine")
    assert root.inputs["start"].inputs["data"].inputs["raw"] == LineageNode(
        step="raw", digest="raw0"
    )
    assert [node.step for node in nodes(root)] == ["finetune", "prepare", "pretrain", "raw", "base"]


def test_the_printed_tree_shows_each_branch_once():
    assert render_tree(build(RECORDS, "fine"), title="tiny/3").splitlines() == [
        "tiny/3",
        "`-- finetune  fine",
        "    |-- data: prepare  prep  /s/prepare/1",
        "    |   `-- raw  raw0",
        "    `-- start: pretrain  pre",
        "        |-- data: prepare  prep  /s/prepare/1  (see above)",
        "        `-- base  base0",
    ]


def test_it_survives_json():
    root = build(RECORDS, "fine")
    text = root.model_dump_json(exclude_defaults=True)
    assert LineageNode.model_validate_json(text) == root


def test_an_unknown_artifact_is_told_with_what_is_known():
    with pytest.raises(RegistryError, match="no record of artifact nothing; records: prepare prep"):
        build(RECORDS, "nothing")


def test_a_circle_is_refused():
    records = [
        ArtifactRecord(step="a", digest="1", inputs={"x": "2"}),
        ArtifactRecord(step="b", digest="2", inputs={"x": "1"}),
    ]
    with pytest.raises(RegistryError, match="circle"):
        build(records, "1")

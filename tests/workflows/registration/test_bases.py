"""A base part's name and licence on the card: what its folder states, no path of this machine."""

import json
from pathlib import Path

import pytest

from components.core.store import Store
from tests.conftest import BUCKET
from workflows.recipes.tiny import BASE
from workflows.registration.bases import NOT_STATED, describe_part

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def folder(path: Path, config: dict[str, object], **files: str) -> str:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    for name, text in files.items():
        (path / name.replace("_md", ".md")).write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LLAMA, "vicuna (LlamaForCausalLM)"),
        ({"model_type": "llama"}, "vicuna (llama)"),
        ({}, "vicuna"),
        (
            {**LLAMA, "_name_or_path": "lmsys/vicuna-7b-v1.5"},
            "lmsys/vicuna-7b-v1.5 (LlamaForCausalLM)",
        ),
        ({**LLAMA, "_name_or_path": "/srv/ada/secret"}, "vicuna (LlamaForCausalLM)"),
        ({**LLAMA, "_name_or_path": "./secret"}, "vicuna (LlamaForCausalLM)"),
        ({**LLAMA, "_name_or_path": "C:\\ada\\secret"}, "vicuna (LlamaForCausalLM)"),
        ({**LLAMA, "_name_or_path": "checkpoints/ada/secret"}, "vicuna (LlamaForCausalLM)"),
    ],
)
def test_the_name_is_public_and_never_a_path(
    tmp_path: Path, config: dict[str, object], name: str
) -> None:
    assert describe_part(folder(tmp_path / "vicuna", config)) == (name, NOT_STATED)


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README_md": "---\nlicense: llama2\n---\n# Vicuna"}, "llama2"),
        ({"README_md": "---\nlicense: [mit, apache-2.0]\n---\n"}, "mit, apache-2.0"),
        ({"README_md": "---\nlicense: other\nlicense_name: qwen\n---\n"}, "qwen"),
        ({"README_md": "# Vicuna", "MODEL_CARD_md": "---\nlicense: mit\n---\n"}, "mit"),
        (
            {"README_md": "---\nlicense: [mit\n---\n", "LICENSE": "\n  MIT License\n\nBy"},
            "MIT License",
        ),
        ({"README_md": "---\ntags: [x]\n---\n", "LICENSE": "Apache License\n"}, "Apache License"),
        ({"README_md": "Licensed under the MIT license."}, NOT_STATED),
    ],
)
def test_the_licence_is_what_the_folder_states(
    tmp_path: Path, files: dict[str, str], licence: str
) -> None:
    assert describe_part(folder(tmp_path / "part", {}, **files))[1] == licence


def test_a_part_in_an_object_store(tmp_path: Path, s3_environment: str) -> None:
    local = folder(tmp_path / "vicuna", LLAMA, README_md="---\nlicense: llama2\n---\n")
    Store(f"s3://{BUCKET}").upload(local, f"{tmp_path.name}/vicuna")
    pinned = f"s3://{BUCKET}/{tmp_path.name}/vicuna#{'0' * 64}"
    assert describe_part(pinned) == ("vicuna (LlamaForCausalLM)", "llama2")


def test_a_part_of_the_hub_is_its_name_and_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching is tested in tests/model/test_folders.py."""
    local = Path(folder(tmp_path / "snapshot", LLAMA, README_md="---\nlicense: llama2\n---\n"))
    monkeypatch.setattr("workflows.registration.bases.local_folder", lambda *_a, **_k: local)
    pinned = "hf://lmsys/vicuna-7b-v1.5@0123456789abcdef0123456789abcdef01234567"
    assert describe_part(pinned) == ("lmsys/vicuna-7b-v1.5 at 0123456789ab", "llama2")


def test_a_folder_that_cannot_be_read_ends_no_registration(tmp_path: Path) -> None:
    local = folder(tmp_path / "part", {})
    Path(local, "config.json").write_text("{")
    assert describe_part(local) == ("part", NOT_STATED)


@pytest.mark.parametrize("part", ["vision_tower", "language_model"])
def test_the_tiny_base_states_its_own(part: str) -> None:
    name, licence = describe_part(str(BASE / part))
    assert name.startswith("lavaflow tiny ")
    assert licence == "apache-2.0"

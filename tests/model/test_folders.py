"""Base models by folder, object store and hub name: the same files arrive, by content."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.core.errors import ConfigError
from components.core.store import Store
from components.model.folders import local_folder, pin_address
from tests.conftest import BUCKET
from tests.model.tiny_hub import COMMIT, tiny_hub

FILES = {
    "config.json": "{}",
    "model.safetensors": "weights",
    "pytorch_model.bin": "a pickle",
    "tokenizer.json": "{ }",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder by its names; its files are not looked into here."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def stored(folder: Path, home: Path, s3_environment: str) -> str:
    """The folder's address in an object store."""
    store = Store(f"s3://{BUCKET}")
    name = folder.parent.name
    store.upload(folder, name)
    return store.uri(name)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_folder_is_its_absolute_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert pin_address("model") == str(folder)
    assert local_folder(pin_address("model")) == folder


@pytest.mark.parametrize("address", ["/nowhere", "./here/not", "tokenizer"])
def test_a_folder_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a model folder .* name a folder"):
        pin_address(address)


def test_a_stored_folder_is_fetched_once_and_without_pickle(stored: str) -> None:
    pinned = pin_address(f"{stored}/")
    assert pinned.startswith(f"{stored}#")
    with ThreadPoolExecutor(4) as pool:
        copies = set(pool.map(local_folder, [pinned] * 4))
    (copy,) = copies
    assert names(copy) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (copy / "model.safetensors").read_text() == "weights"
    settings = local_folder(pinned, weights=False)
    assert names(settings) == ["config.json", "tokenizer.json"]


def test_other_content_at_the_same_address_is_another_base(stored: str) -> None:
    before = pin_address(stored)
    Store(stored).write_bytes("model.safetensors", b"other weights")
    assert pin_address(stored) != before
    with pytest.raises(ConfigError, match="changed since the run was planned"):
        local_folder(before)
    assert (local_folder(pin_address(stored)) / "model.safetensors").read_text() == "other weights"


def test_a_prefix_without_a_model_is_refused(s3_environment: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model folder \(no config.json there\)"):
        pin_address(f"s3://{BUCKET}/{tmp_path.name}-nothing")


def run(code: str, **environment: str) -> str:
    """Run a line in a process of its own: the hub's client reads its settings at import."""
    setting = f"from components.model.folders import local_folder, pin_address; {code}"
    done = subprocess.run(
        [sys.executable, "-c", setting],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_DISABLE_XET": "1", **environment},
        timeout=60,
        check=False,
    )
    return done.stdout.strip() or done.stderr


def test_a_name_of_the_hub_is_its_commit(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("its card, with the licence")
    fetch = "p = pin_address('some/model'); print(p, local_folder(p))"
    with tiny_hub("some/model", folder) as (address, asked):
        hub = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub")}
        pinned, path = run(fetch, **hub).split()
        assert pinned == f"hf://some/model@{COMMIT}"
        assert sorted(asked) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
        assert (Path(path) / "model.safetensors").read_text() == "weights"
    # Without a network the hub's own cache serves.
    offline = run(fetch, HF_HOME=hub["HF_HOME"], HF_HUB_OFFLINE="1")
    assert offline.split() == [pinned, path]


def test_a_repository_of_pickles_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with tiny_hub("some/model", folder) as (address, _):
        hub = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub")}
        told = run("local_folder(pin_address('some/model'))", **hub)
    assert "holds no safetensors, and weights in pickle files are never loaded" in told


def test_a_hub_out_of_reach_says_what_to_do(tmp_path: Path) -> None:
    told = run("pin_address('some/model@v2')", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "some/model@v2 is no folder here and could not be fetched from the model hub" in told
    assert "hf download some/model --local-dir FOLDER" in told

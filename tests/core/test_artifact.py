"""Manifests: what is whole, what is not, and a digest that knows content only."""

from pathlib import Path

import pytest

from components.core.artifact import FileEntry, Manifest, build_manifest, verify_folder
from components.core.errors import ArtifactError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("b")
    return root


def test_a_manifest_names_every_file(folder: Path) -> None:
    manifest = build_manifest(folder)
    assert sorted(manifest.files) == ["a.txt", "sub/b.txt"]
    # sha256 of "a" as any other tool computes it.
    expected = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert manifest.files["a.txt"] == FileEntry(1, expected)
    assert manifest.num_bytes == 2
    assert verify_folder(folder, manifest) is None


def test_what_is_missing_or_altered_is_named(folder: Path) -> None:
    manifest = build_manifest(folder)
    (folder / "a.txt").write_text("A")
    (folder / "sub" / "b.txt").unlink()
    assert verify_folder(folder, manifest) == "missing sub/b.txt; altered a.txt"
    (folder / "a.txt").unlink()
    many = Manifest({f"{i}": FileEntry(0, "") for i in range(5)})
    assert verify_folder(folder, many) == "missing 0, 1, 2 and 2 more"


def test_the_digest_is_of_names_and_contents(folder: Path) -> None:
    digest = build_manifest(folder).digest()
    (folder / "a.txt").touch()
    assert build_manifest(folder).digest() == digest
    (folder / "a.txt").rename(folder / "c.txt")
    assert build_manifest(folder).digest() != digest


def test_json_there_and_back(folder: Path) -> None:
    manifest = build_manifest(folder).with_stamps({"a.txt": (1, "stamp")})
    again = Manifest.from_json(manifest.to_json(), "x")
    assert again == manifest
    assert again.digest() == build_manifest(folder).digest()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"schema": 99, "files": {}}, "schema 99"),
        ({"files": {}}, "not a manifest"),
        ([], "not a manifest"),
        ({"schema": 1, "files": {"a": {"size": 1}}}, "not a manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(value: object, words: str) -> None:
    with pytest.raises(ArtifactError, match=f"x.json: .*{words}"):
        Manifest.from_json(value, "x.json")

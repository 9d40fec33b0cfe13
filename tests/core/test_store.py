"""The store: the same promises on a folder, on S3 and in memory; what it says when it cannot."""

import errno
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from components.core import store_faults
from components.core.artifact import FileEntry, Manifest, build_manifest
from components.core.errors import ArtifactError, StoreError, StoreUnavailable
from components.core.store import Store, local_copy, open_store, resolve
from components.core.store_faults import guarded, translate
from components.core.store_local import LocalFiles


def test_write_read_list_delete(store: Store) -> None:
    store.write_bytes("a/b/one", b"1")
    store.write_bytes("a/b/one", b"2")
    store.write_json("a/two.json", {"x": [1, None]})
    assert store.read_bytes("a/b/one") == b"2"
    assert store.read_json("a/two.json") == {"x": [1, None]}
    assert store.list("a") == ["b", "two.json"]
    assert store.list("nothing/here") == []
    assert (store.exists("a/b/one"), store.exists("a/b/two")) == (True, False)
    store.delete("a/two.json")
    store.delete("a/two.json")
    store.delete("a", recursive=True)
    store.delete("a", recursive=True)
    assert store.list("a") == []
    with pytest.raises(FileNotFoundError):
        store.read_bytes("a/b/one")


def test_put_if_absent_has_one_winner(store: Store) -> None:
    start = threading.Barrier(6)
    won: list[bytes] = []

    def put(content: bytes) -> None:
        start.wait()
        if store.put_if_absent("race/record", content):
            won.append(content)

    if store.protocol == "memory":
        pytest.skip("the in-memory filesystem of fsspec makes no promise to threads")
    threads = [threading.Thread(target=put, args=(b"%d" % i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.read_bytes("race/record")] == won
    assert not store.put_if_absent("race/record", b"late")
    assert store.list("race") == ["record"]


def test_replace_if_unchanged(store: Store) -> None:
    assert not store.replace_if_unchanged("state", b"old", b"new")
    store.write_bytes("state", b"old")
    assert store.replace_if_unchanged("state", b"old", b"new")
    assert not store.replace_if_unchanged("state", b"old", b"newer")
    assert store.read_bytes("state") == b"new"


def make_folder(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "one.txt").write_text("one")
    (path / "sub" / "two.bin").write_bytes(b"\0" * 1000)
    return path


def test_folders_go_up_and_come_back_whole(store: Store, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out")
    manifest = build_manifest(folder)
    store.upload(folder, "x/files")
    store.upload(folder / "one.txt", "x/single.txt")
    published = manifest.with_stamps(store.stamps("x/files"))
    assert store.verify("x/files", published) is None
    assert store.verify("x/files", manifest) is None, "read again, for want of stamps"
    copy = store.local_copy("x/files", manifest)
    assert build_manifest(copy) == manifest
    assert store.local_copy("x/files", manifest) == copy
    assert store.local_copy("x/single.txt").read_text() == "one"
    assert store.uri("x/files").startswith(str(store.root) if store.is_local else store.protocol)


def test_verify_finds_what_is_missing_or_altered(store: Store, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out")
    store.upload(folder, "files")
    manifest = build_manifest(folder).with_stamps(store.stamps("files"))
    store.write_bytes("files/one.txt", b"onE")
    assert store.verify("files", manifest) == "altered one.txt"
    store.write_bytes("files/surplus", b"")
    store.delete("files/sub/two.bin")
    assert store.verify("files", manifest) == "missing sub/two.bin; altered one.txt"
    # Content counts, not the stamp: a restored copy is as good as the original.
    store.upload(folder, "files")
    assert store.verify("files", manifest) is None


def test_a_damaged_download_is_refused(store: Store, tmp_path: Path) -> None:
    if store.is_local:
        pytest.skip("a local store copies nothing")
    store.write_bytes("files/a", b"damaged")
    with pytest.raises(ArtifactError, match="altered a after the download"):
        store.local_copy("files", Manifest({"a": FileEntry(7, "0" * 64)}))
    left = [path for path in Path(store.cache_path).rglob("*") if path.is_file()]
    assert [path.suffix for path in left] == [".lock"]
    with pytest.raises(ArtifactError, match="does not exist"):
        store.local_copy("no/such/folder")


def test_a_store_travels_as_strings(store: Store) -> None:
    store.write_bytes("a", b"1")
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    if store.protocol != "memory":
        assert again.read_bytes("a") == b"1"


def test_resolve_reaches_any_address(store: Store) -> None:
    store.write_bytes("x/file", b"1")
    other, path = resolve(store.uri("x/file"))
    assert (path, other.read_bytes(path)) == ("file", b"1")
    assert store.relative(store.uri("x/file")) == "x/file"
    assert store.relative("/somewhere/else") is None
    if store.is_local:
        assert local_copy(store.uri("x")) == Path(store.root, "x")


def test_paths_do_not_leave_the_store(store: Store) -> None:
    for path in ("../other", "a/../../other", "/etc/passwd"):
        with pytest.raises(StoreError, match="leaves the store"):
            store.read_bytes(path)


def test_json_that_is_none_is_told(store: Store) -> None:
    store.write_bytes("broken.json", b'{"half":')
    with pytest.raises(ArtifactError, match=r"broken\.json: not valid JSON"):
        store.read_json("broken.json")


def test_addresses() -> None:
    assert Store("relative/place").root == str(Path.cwd() / "relative/place")
    assert Store("file:///a/b").uri("c") == "/a/b/c"
    assert Store("s3://bucket/a/").uri("b") == "s3://bucket/a/b"
    with pytest.raises(StoreError, match="the bucket is missing"):
        Store("s3://")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("record", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (store.write_bytes, store.put_if_absent):
        with pytest.raises(StoreError, match=r"disk .* is full .* free some space"):
            write("record", b"new")
    monkeypatch.undo()
    assert store.read_bytes("record") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        open_store(str(tmp_path / "file" / "store"))
    assert open_store(str(tmp_path / "new")).list() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="access refused"):
        open_store(str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), StoreError, "access refused"),
        (OSError(errno.ENOSPC, "No space left on device"), StoreError, "is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), StoreError, "full"),
        (OSError(errno.EROFS, "Read-only"), StoreError, "read-only"),
        (OSError(errno.EBUSY, "Slow down"), StoreUnavailable, "does not answer"),
        (TimeoutError(), StoreUnavailable, "does not answer"),
        (ConnectionResetError(), StoreUnavailable, "cannot be reached"),
        (OSError(errno.EIO, "odd"), StoreError, "OSError: .*odd"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_is_said(error: Exception, kind: type[Exception], words: str) -> None:
    said = translate("s3://bucket/x", error)
    assert type(said) is kind
    with pytest.raises(kind, match=f"s3://bucket/x: .*{words}"):
        raise said


def test_throttling_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_faults, "MAX_WAIT_S", 0.01)
    tries: list[int] = []

    def busy_twice() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.EBUSY, "Slow down")
        return "done"

    assert guarded("s3://b", busy_twice) == "done"
    tries.clear()

    def refused() -> None:
        tries.append(1)
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(StoreError, match="AWS credentials"):
        guarded("s3://b", refused)
    assert len(tries) == 1


def test_our_own_mistakes_are_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded("/x", lambda: 1 // 0)


def test_a_mount_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    files = LocalFiles()
    path = str(tmp_path / "record")
    assert files.put_if_absent(path, b"1")
    assert not files.put_if_absent(path, b"2")
    assert files.read(path) == b"1"


def forget_connections() -> None:
    """Make s3fs read the environment again."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


class TestS3:
    """What only a real S3 protocol can show."""

    @pytest.fixture(autouse=True)
    def restored_connections(self) -> Iterator[None]:
        yield
        forget_connections()

    def test_wrong_credentials_and_missing_buckets(
        self, s3_environment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(StoreError, match="a bucket must be there already"):
            open_store("s3://no-such-bucket-here/x")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        forget_connections()
        with pytest.raises(StoreError, match=r"no credentials .*AWS_ACCESS_KEY_ID"):
            open_store("s3://lavaflow-test/x")

    def test_an_unreachable_endpoint(
        self, s3_environment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_faults, "MAX_TRIES", 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        forget_connections()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            open_store("s3://lavaflow-test/x")

    def test_many_files(self, s3_environment: str, tmp_path: Path) -> None:
        folder = tmp_path / "many"
        folder.mkdir()
        for number in range(60):
            (folder / f"{number}.txt").write_text(str(number))
        store = Store(f"s3://lavaflow-test/{tmp_path.name}", str(tmp_path / "cache"))
        store.upload(folder, "files")
        manifest = build_manifest(folder)
        assert build_manifest(store.local_copy("files", manifest)) == manifest
        store.delete("files", recursive=True)
        assert store.list("files") == []

    def test_objects_that_stand_for_folders_are_deleted(
        self, s3_environment: str, tmp_path: Path
    ) -> None:
        """As Ray Train's uploads leave them; a name that only begins alike stays."""
        import s3fs

        root = f"lavaflow-test/{tmp_path.name}"
        store = Store(f"s3://{root}", str(tmp_path / "cache"))
        files = s3fs.S3FileSystem(use_listings_cache=False)
        for name in ("step-1/", "step-1/sub/"):
            files.call_s3("put_object", Bucket="lavaflow-test", Key=f"{tmp_path.name}/{name}")
        for name in ("step-1/sub/a", "step-10/b"):
            store.write_bytes(name, b"x")
        store.delete("step-1", recursive=True)
        assert store.list("") == ["step-10"]
        assert files.find(root) == [f"{root}/step-10/b"]


@pytest.mark.parametrize("write", ["write_bytes", "put_if_absent"])
def test_readers_never_see_half_a_file(tmp_path: Path, write: str) -> None:
    store = Store(str(tmp_path))
    big = b"x" * 2_000_000
    stop, seen = threading.Event(), set()
    action: Callable[[str, bytes], Any] = getattr(store, write)

    def look() -> None:
        while not stop.is_set():
            try:
                seen.add(len(store.read_bytes("big")))
            except FileNotFoundError:
                continue

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(5):
        action("big", big)
    stop.set()
    reader.join()
    assert seen <= {len(big)}

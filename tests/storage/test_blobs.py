import pytest
from blake3 import blake3

from assay.storage.blobs import BlobStore, DigestMismatch
from assay.storage.files import FileMissing, Files, FileTooLarge, NotWritable, UnsafePath


class WritingFiles(Files):
    """The real disk; counts the files that are made."""

    made = 0

    def create(self, path):
        self.made += 1
        return super().create(path)


def test_a_blob_is_named_by_its_content_and_stored_once(tmp_path):
    """The same bytes give the same name and are written a single time, also by a store opened later."""
    files = WritingFiles()
    store = BlobStore(files, tmp_path)
    digest = store.put(b"some bytes")
    assert digest == blake3(b"some bytes").digest()
    assert store.put(bytearray(b"some bytes")) == BlobStore(files, tmp_path).put(memoryview(b"some bytes")) == digest
    assert files.made == 1
    assert store.open(digest) == b"some bytes"
    assert store.list_digests() == [digest]


def test_a_damaged_blob_is_never_returned(tmp_path):
    """Every flipped bit and every other length is found; the error names file, expected and actual digest."""
    store = BlobStore(Files(), tmp_path)
    data = b"0123456789"
    digest = store.put(data)
    path = tmp_path / digest.hex()
    changes = [data[:-1], data + b"x", b""]
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        changes.append(bytes(changed))
    for changed in changes:
        path.write_bytes(changed)
        with pytest.raises(DigestMismatch) as caught:
            store.open(digest)
        assert str(path) in caught.value.message
        assert digest.hex() in caught.value.expected
        assert blake3(changed).hexdigest() in caught.value.actual
        assert caught.value.code == "storage.digest"


def test_a_damaged_blob_is_replaced_when_its_bytes_come_again(tmp_path):
    """Storing trusts no file that it has not read."""
    digest = BlobStore(Files(), tmp_path).put(b"right")
    for wrong in (b"wrong", b"", b"right and more"):
        (tmp_path / digest.hex()).write_bytes(wrong)
        store = BlobStore(Files(), tmp_path)
        assert store.put(b"right") == digest
        assert store.open(digest) == b"right"


def test_links_and_odd_names_are_refused(tmp_path):
    """A symbolic link is not followed, even to the right bytes, and a foreign name in the folder is reported."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    store = BlobStore(Files(), folder)
    digest = blake3(b"abc").digest()
    (tmp_path / "elsewhere").write_bytes(b"abc")
    (folder / digest.hex()).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePath):
        store.open(digest)
    (folder / "../odd name").touch()
    (folder / "README").touch()
    with pytest.raises(UnsafePath) as caught:
        store.list_digests()
    assert "README" in caught.value.actual
    for wrong in (b"", b"../../etc/passwd", bytes(31), bytes(33)):
        with pytest.raises(UnsafePath):
            store.open(wrong)


def test_sizes_are_bounded(tmp_path):
    """A blob above the limit is refused before it is read."""
    store = BlobStore(Files(), tmp_path, max_bytes=5)
    digest = store.put(b"123456")
    with pytest.raises(FileTooLarge):
        store.open(digest)
    assert store.open(digest, max_bytes=6) == b"123456"


def test_missing_and_removed_blobs(tmp_path):
    """A blob that is not there is a typed error, also after it was removed; it can be stored again."""
    store = BlobStore(Files(), tmp_path)
    with pytest.raises(FileMissing):
        store.open(bytes(32))
    digest = store.put(b"x")
    store.remove(digest)
    with pytest.raises(FileMissing):
        store.open(digest)
    assert store.open(store.put(b"x")) == b"x"


def test_a_store_for_reading_changes_nothing(tmp_path):
    """Putting and removing are refused where the run was opened for reading."""
    digest = BlobStore(Files(), tmp_path).put(b"x")
    store = BlobStore(Files(), tmp_path, writable=False)
    for action in (lambda: store.put(b"y"), lambda: store.remove(digest)):
        with pytest.raises(NotWritable):
            action()
    assert store.list_digests() == [digest]

import pytest
from blake3 import blake3

from assay.storage.blobs import DigestMismatch
from assay.storage.fields import FieldStore, FieldTaken
from assay.storage.files import FileMissing, Files, NotWritable, UnsafePath


def test_an_array_is_stored_in_pieces_and_mapped(tmp_path):
    """Pieces of any size become one file; it comes back read-only and equal."""
    store = FieldStore(Files(), tmp_path)
    pieces = [bytes([number]) * (number * 70_001) for number in range(20)]
    digest = store.put("train.0", iter(pieces))
    assert digest == blake3(b"".join(pieces)).digest()
    view = store.open("train.0", digest)
    assert view == b"".join(pieces)
    assert view.readonly
    assert store.put("none", []) == blake3(b"").digest()
    assert bytes(store.open("none", blake3(b"").digest())) == b""


def test_changed_data_are_found_at_the_first_opening(tmp_path):
    """One flipped bit anywhere, or another digest than that of the file, is refused with file and digests."""
    digest = FieldStore(Files(), tmp_path).put("train", [bytes(5_000_000)])
    path = tmp_path / "train.bin"
    with path.open("r+b") as file:
        file.seek(4_999_999)
        file.write(b"\x01")
    with pytest.raises(DigestMismatch) as caught:
        FieldStore(Files(), tmp_path).open("train", digest)
    assert str(path) in caught.value.message
    assert digest.hex() in caught.value.expected


def test_committed_data_are_not_replaced(tmp_path):
    """The same data may be given again; other data under the same name are refused, and the first ones stay."""
    store = FieldStore(Files(), tmp_path)
    digest = store.put("train", [b"first"])
    assert store.put("train", [b"fi", b"rst"]) == digest
    with pytest.raises(FieldTaken) as caught:
        store.put("train", [b"second"])
    assert caught.value.code == "storage.field-taken"
    assert bytes(store.open("train", digest)) == b"first"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".tmp-x", "a" * 101, "ä", "a\0", "a\n"])
def test_odd_names_are_refused(tmp_path, name):
    """No name leaves the folder or hides in it."""
    store = FieldStore(Files(), tmp_path)
    with pytest.raises(UnsafePath):
        store.put(name, [b"x"])
    with pytest.raises(UnsafePath):
        store.open(name, bytes(32))
    assert list(tmp_path.iterdir()) == []


def test_missing_data_and_reading_stores(tmp_path):
    """What is not there is a typed error; a store for reading stores nothing."""
    store = FieldStore(Files(), tmp_path, writable=False)
    with pytest.raises(FileMissing):
        store.open("train", bytes(32))
    with pytest.raises(NotWritable):
        store.put("train", [b"x"])


def test_data_that_fail_while_they_are_read_leave_nothing(tmp_path):
    """An error of the data set passes through, and no half of it is stored."""

    def break_off():
        yield b"x" * 3_000_000
        raise LookupError("the data set broke")

    with pytest.raises(LookupError):
        FieldStore(Files(), tmp_path).put("train", break_off())
    assert list(tmp_path.iterdir()) == []

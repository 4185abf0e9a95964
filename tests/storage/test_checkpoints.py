import pytest

from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.model_state import Alias, AliasTable, TensorRecord, compute_state_root
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.blobs import DigestMismatch
from assay.storage.checkpoints import (
    CheckpointDamaged,
    CheckpointMissing,
    CheckpointRefused,
    CheckpointStore,
    Manifest,
)
from assay.storage.files import FileMissing, Files, FileTooLarge, NotWritable
from tests.storage.faults import FaultyFiles
from tests.storage.samples import NO_ALIASES, make_state


def make_store(folder, files=None, **options):
    """Return a store in a folder that is made on the first call."""
    for name in ("checkpoints", "packs"):
        (folder / name).mkdir(exist_ok=True)
    return CheckpointStore(files or Files(), folder / "checkpoints", folder / "packs", **options)


def count_bytes(folder):
    """Return how many bytes of tensors are stored."""
    return sum(path.stat().st_size for path in (folder / "packs").iterdir())


def test_a_state_comes_back_as_it_was(tmp_path):
    """Root, records, aliases, extra bytes and every tensor are equal, in this process and in another."""
    state = make_state(7) | {"aliases": AliasTable((Alias("0/b", "0/t0001"),))}
    state["state_root"] = compute_state_root(state["records"], state["aliases"])
    store = make_store(tmp_path)
    store.write(7, **state)
    for reader in (store, make_store(tmp_path, writable=False)):
        found = reader.read(7)
        assert found.tensors == state["tensors"]
        assert found.manifest.records == tuple(state["records"])
        assert (found.manifest.step, found.manifest.state_root) == (7, state["state_root"])
        assert (found.manifest.aliases, found.manifest.extra) == (state["aliases"], state["extra"])
        assert reader.list_steps() == [7]


def test_empty_states_and_empty_tensors(tmp_path):
    """A state without tensors, and a tensor without elements, are states too."""
    store = make_store(tmp_path)
    store.write(0, state_root=compute_state_root([], NO_ALIASES), records=[], aliases=NO_ALIASES, tensors=[])
    assert store.read(0).tensors == []
    record = TensorRecord(0, "0/none", "f32", (0, 4), 0, compute_bulk_digest(b""))
    root = compute_state_root([record], NO_ALIASES)
    store.write(1, state_root=root, records=[record], aliases=NO_ALIASES, tensors=[memoryview(b"")])
    assert store.read(1).tensors == [b""]


def test_equal_tensors_are_stored_once(tmp_path):
    """A frozen tensor is written with the first checkpoint alone, and twins take the room of one."""
    store = make_store(tmp_path)
    for step in range(4):
        store.write(step, **make_state(step, tensors=6, size=320))
    assert count_bytes(tmp_path) == 320 * (1 + 4 * 4)  # one frozen; of five others two are equal
    for step in range(4):
        assert store.read(step).tensors == make_state(step, size=320)["tensors"]


def test_a_store_opened_again_knows_what_it_has_read(tmp_path):
    """After a resume from a checkpoint its unchanged tensors are not written again."""
    make_store(tmp_path).write(0, **make_state(0, size=320))
    before = count_bytes(tmp_path)
    store = make_store(tmp_path)
    store.read(0)
    store.write(1, **make_state(1, size=320))
    assert count_bytes(tmp_path) == before + 320 * 4


def test_a_checkpoint_costs_four_fsyncs_whatever_its_size(tmp_path):
    """Thirty tensors need no more fsyncs than one; two if nothing changed."""
    files = FaultyFiles(tmp_path)
    store = make_store(tmp_path, files)
    files.tree = FaultyFiles(tmp_path).tree
    for tensors in (1, 30):
        before = files.syncs
        store.write(tensors, **make_state(tensors, tensors=tensors))
        assert files.syncs - before == 4
    before = files.syncs
    store.write(31, **make_state(30, tensors=30))
    assert files.syncs - before == 2


def test_removing_keeps_what_others_need(tmp_path):
    """Any order of removal leaves the other checkpoints whole, and at the end no byte is left."""
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        store = make_store(tmp_path)
        for step in range(4):
            store.write(step, **make_state(step))
        left = set(range(4))
        for step in order:
            store.remove(step)
            left.discard(step)
            assert store.list_steps() == sorted(left)
            for other in left:
                assert make_store(tmp_path).read(other).tensors == make_state(other)["tensors"]
        assert count_bytes(tmp_path) == 0


def test_thinning_keeps_the_wanted_steps(tmp_path):
    """Thinning deletes all others at once; a step that is wanted and not there is no fault."""
    store = make_store(tmp_path)
    for step in range(8):
        store.write(step, **make_state(step))
    store.thin({0, 4, 7, 100})
    assert store.list_steps() == [0, 4, 7]
    assert [store.read(step).tensors for step in (0, 4, 7)] == [make_state(step)["tensors"] for step in (0, 4, 7)]
    store.write(8, **make_state(8))
    store.thin({8})
    assert store.read(8).tensors == make_state(8)["tensors"]


def test_a_step_written_again_replaces_the_first(tmp_path):
    """The later state of a step counts; the tensors of the first go with the next opening."""
    store = make_store(tmp_path)
    store.write(3, **make_state(30))
    store.write(3, **make_state(3))
    store = make_store(tmp_path)
    store.delete_unneeded()
    assert store.read(3).tensors == make_state(3)["tensors"]


def test_tensors_that_are_not_those_of_the_records_are_refused(tmp_path):
    """Wrong bytes, lengths, counts or roots are refused before anything is written."""
    store = make_store(tmp_path)
    good = make_state(1)
    wrong = [
        good | {"tensors": [*good["tensors"][:-1], b"x" * 300]},
        good | {"tensors": [*good["tensors"][:-1], good["tensors"][-1] + b"x"]},
        good | {"tensors": good["tensors"][:-1]},
        good | {"state_root": bytes(32)},
        good | {"records": good["records"][::-1]},
    ]
    for state in wrong:
        with pytest.raises(CheckpointRefused):
            store.write(1, **state)
    assert store.list_steps() == []
    assert count_bytes(tmp_path) == 0


def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path):
    """Each byte of manifest and tensors counts: one changed bit is a typed error that names the file."""
    store = make_store(tmp_path)
    store.write(1, **make_state(1, tensors=3, size=40))
    paths = [*(tmp_path / "checkpoints").iterdir(), *(tmp_path / "packs").iterdir()]
    for path in paths:
        data = path.read_bytes()
        for position in range(len(data)):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            path.write_bytes(changed)
            with pytest.raises((CheckpointDamaged, DigestMismatch)) as caught:
                store.read(1)
            assert str(path) in caught.value.message
        for size in (0, 1, 31, 32, len(data) - 1):
            path.write_bytes(data[:size])
            with pytest.raises((CheckpointDamaged, DigestMismatch)):
                store.read(1)
        path.write_bytes(data)
    assert store.read(1).tensors == make_state(1, tensors=3, size=40)["tensors"]


def forge(folder, number, **changes):
    """Change a manifest and give it a right check, as whoever sends a run could."""
    path = folder / "checkpoints" / f"{number}.bin"
    manifest = decode(path.read_bytes()[:-32], Manifest)
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__} | changes
    data = encode(Manifest(**fields))
    path.write_bytes(data + compute_bulk_digest(data))
    return manifest


def test_forged_manifests_are_refused(tmp_path):
    """A manifest with a right check and impossible contents is refused, and never read beyond a file."""
    store = make_store(tmp_path)
    store.write(1, **make_state(1, tensors=2, size=40))
    manifest = store.read_manifest(1)
    first, second = manifest.placements
    place = type(first)
    forgeries = [
        {"step": 2},
        {"state_root": bytes(32)},
        {"placements": (first,)},
        {"placements": (first, place(1, 0))},
        {"placements": (first, place(-1, 0))},
        {"placements": (first, place(0, 2**62))},
        {"placements": (first, place(0, -40))},
        {"placements": (first, place(0, 41))},
        {"packs": (b"../../../etc/passwd",)},
    ]
    for changes in forgeries:
        forge(tmp_path, 1, **changes)
        with pytest.raises(CheckpointDamaged):
            store.read(1)
        forge(tmp_path, 1, **{name: getattr(manifest, name) for name in changes})
    assert store.read(1).tensors == make_state(1, tensors=2, size=40)["tensors"]
    forge(tmp_path, 1, placements=(second, first))
    with pytest.raises(DigestMismatch):
        store.read(1)


def test_a_state_that_would_fill_memory_is_refused_before_it_is_read(tmp_path):
    """A manifest may name the same bytes many times; the sum is bounded by what the reader allows."""
    store = make_store(tmp_path)
    data = bytes(1000)
    records = [TensorRecord(0, f"0/{n:04}", "u8", (1000,), 1000, compute_bulk_digest(data)) for n in range(500)]
    root = compute_state_root(records, NO_ALIASES)
    store.write(1, state_root=root, records=records, aliases=NO_ALIASES, tensors=[data] * 500)
    assert count_bytes(tmp_path) == 1000
    assert len(store.read(1, max_bytes=500_000).tensors) == 500
    with pytest.raises(FileTooLarge):
        store.read(1, max_bytes=499_999)


def test_missing_checkpoints_and_packs(tmp_path):
    """A step without checkpoint names those that there are; a pack that is gone is a missing file."""
    store = make_store(tmp_path)
    store.write(3, **make_state(3))
    for step in (4, -1, 2**63):
        with pytest.raises(CheckpointMissing) as caught:
            store.read(step)
    with pytest.raises(CheckpointMissing) as caught:
        store.remove(4)
    assert caught.value.expected == "one of [3]"
    (tmp_path / "checkpoints" / "03.bin").write_bytes(b"")
    (tmp_path / "checkpoints" / "notes.txt").write_bytes(b"")
    assert store.list_steps() == [3]
    for path in (tmp_path / "packs").iterdir():
        path.unlink()
    with pytest.raises(FileMissing):
        store.read(3)


def test_nothing_is_deleted_while_a_manifest_is_damaged(tmp_path):
    """With one manifest unreadable nobody knows which packs it needs, so all packs stay."""
    store = make_store(tmp_path)
    for step in range(3):
        store.write(step, **make_state(step))
    path = tmp_path / "checkpoints" / "1.bin"
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    before = count_bytes(tmp_path)
    again = make_store(tmp_path)
    again.delete_unneeded()
    with pytest.raises(CheckpointDamaged):
        again.thin({1, 2})
    assert count_bytes(tmp_path) == before
    path.write_bytes(good)
    assert again.read(1).tensors == make_state(1)["tensors"]


def test_tensors_can_be_read_one_by_one(tmp_path):
    """A part of a state is read without the rest, also when the rest is damaged."""
    store = make_store(tmp_path)
    state = make_state(1, tensors=4, size=40)
    store.write(1, **state)
    manifest = store.read_manifest(1)
    path = next((tmp_path / "packs").iterdir())
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    assert store.read_tensors(manifest, [3, 1]) == [state["tensors"][3], state["tensors"][1]]
    with pytest.raises(DigestMismatch):
        store.read_tensors(manifest, [0])


def test_a_store_for_reading_changes_nothing(tmp_path):
    """Writing, removing and thinning are refused where the run was opened for reading."""
    make_store(tmp_path).write(1, **make_state(1))
    store = make_store(tmp_path, writable=False)
    for action in (lambda: store.write(2, **make_state(2)), lambda: store.remove(1), lambda: store.thin(set())):
        with pytest.raises(NotWritable):
            action()
    assert store.list_steps() == [1]

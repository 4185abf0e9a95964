"""Packages: what is submitted of a run, and how a stranger gets the run back from its blobs."""

import msgspec
import pytest

from assay.errors import MalformedEvidence
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.bundle import compute_manifest_id
from assay.protocol.evidence.model_state import compute_state_root
from assay.protocol.evidence.package import (
    CHUNK_BYTES,
    build_manifest,
    compute_bundle_bytes,
    cut,
    list_chunks,
    open_bundle,
    verify_chunk,
)
from assay.protocol.evidence.transcript import compute_context
from assay.protocol.hashing import ZERO
from assay.protocol.signatures import get_public_key
from assay.storage.run_directory import RunDirectory
from assay.training.pytorch.backend import TorchBackend
from assay.training.recompute import Recomputer
from assay.training.recorded import RecordedRun
from assay.training.relink import relink
from assay.training.replay import Replayer
from assay.training.work_digest import WorkHasher
from assay.verification import fetching
from assay.verification.fetching import ChunkWithheld, Fetcher, verify_copy
from assay.verification.package import StateHeader, StateMissing
from tests.verification import blobs, runs


@pytest.fixture(scope="module")
def package(honest):
    """The honest run as submitted."""
    return blobs.make_package(honest)


def test_relinking_changes_nothing_but_leaves(honest):
    """PKG-8: another context gives other leaf ids and another transcript; every root in the rows stays."""
    run = RecordedRun(honest)
    context = compute_context(get_public_key(blobs.SUBMITTER), blobs.CHAIN, 3)
    found = relink(run, context)
    assert found.start.context == context
    assert found.closing.transcript != run.closing.transcript
    assert msgspec.structs.replace(found.closing, transcript=run.closing.transcript) == run.closing
    for parts, row in zip(found.rows, run.rows, strict=True):
        assert parts.leaf != row.parts.leaf
        assert msgspec.structs.replace(parts, leaf=row.parts.leaf) == row.parts


def test_relinking_alone_gives_the_run_itself(honest):
    """PKG-8: under the empty context the leaves are those that were recorded."""
    run = RecordedRun(honest)
    found = relink(run, b"")
    assert found.closing == run.closing
    assert found.rows == [row.parts for row in run.rows]


def test_contexts_differ():
    """PKG-7: account, ledger and nonce each change the context."""
    key, other = get_public_key(blobs.SUBMITTER), get_public_key(runs.AUDITOR)
    contexts = {
        compute_context(key, blobs.CHAIN, 0),
        compute_context(other, blobs.CHAIN, 0),
        compute_context(key, bytes(32), 0),
        compute_context(key, blobs.CHAIN, 1),
    }
    assert len(contexts) == 4


def test_blobs_give_the_run_back(honest, package, tmp_path):
    """PKG-9: what is fetched holds together, and its states, rows and data are those of the recorded run."""
    copy = blobs.fetch(package, tmp_path / "copy")
    verify_copy(copy, package.body)
    original, fetched = RecordedRun(honest), RecordedRun(copy)
    assert fetched.start.context == package.context
    assert [row.leaf.state_root for row in fetched.rows] == [row.leaf.state_root for row in original.rows]
    for step in fetched.directory.checkpoints.list_steps():
        ours, theirs = (run.directory.checkpoints.read(step) for run in (original, fetched))
        assert [bytes(tensor) for tensor in ours.tensors] == [bytes(tensor) for tensor in theirs.tensors]


def test_only_wanted_states_are_fetched(package, tmp_path):
    """A verifier of a few intervals fetches the states that it needs."""
    copy = blobs.fetch(package, tmp_path / "copy", is_wanted=lambda step: step == runs.STEPS)
    assert RecordedRun(copy).directory.checkpoints.list_steps() == [runs.STEPS]


def test_a_start_that_a_program_makes_is_not_submitted(package):
    """PKG-6: whoever recomputes interval 0 makes the start, so that nobody can put another in its place."""
    listed = package.checkpoints
    assert [entry.step for entry in listed] == list(range(0, runs.STEPS + 1, runs.LENGTH))
    assert [entry.manifest == ZERO for entry in listed] == [True] + [False] * runs.INTERVALS


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_blobs_are_cut_in_chunks(length):
    """PKG-1, PKG-2: all chunks but the last have one length; the manifest says what they are together."""
    entries = list_chunks("rows", bytes(length))
    manifest = build_manifest(entries)
    assert (manifest.length, manifest.chunk_size) == (length, CHUNK_BYTES)
    assert manifest.chunks == tuple(entry.digest for entry in entries)
    assert all(entry.nbytes == CHUNK_BYTES for entry in entries[:-1])
    for entry, chunk in zip(entries, cut(bytes(length)), strict=True):
        verify_chunk(entry, bytes(chunk))
    assert len(compute_manifest_id(manifest)) == 32


def replace_entries(bundle, name, change):
    """Return a bundle with one entry replaced by what `change` makes of it, sorted again."""
    entries = [other for entry in bundle.entries for other in (change(entry) if entry.name == name else [entry])]
    return msgspec.structs.replace(bundle, entries=tuple(sorted(entries, key=lambda entry: entry.name)))


BAD_BUNDLES = {
    "a blob that must be there is missing": ("plan#000000", lambda _: []),
    "the first chunk is missing": ("plan#000000", lambda e: [msgspec.structs.replace(e, name="plan#000001")]),
    "a short chunk before another": ("plan#000000", lambda e: [e, msgspec.structs.replace(e, name="plan#000001")]),
    "a name that leads elsewhere": ("plan#000000", lambda e: [e, msgspec.structs.replace(e, name="../plan#000000")]),
    "a name that no package has": ("plan#000000", lambda e: [e, msgspec.structs.replace(e, name="secret#000000")]),
    "a name with another number": ("plan#000000", lambda e: [e, msgspec.structs.replace(e, name="state/010#000000")]),
    "a number without its digits": ("plan#000000", lambda e: [msgspec.structs.replace(e, name="plan#0")]),
    "no number": ("plan#000000", lambda e: [msgspec.structs.replace(e, name="plan")]),
    "a chunk that is too long": ("plan#000000", lambda e: [msgspec.structs.replace(e, nbytes=CHUNK_BYTES + 1)]),
    "a negative length": ("plan#000000", lambda e: [msgspec.structs.replace(e, nbytes=-1)]),
    "a digest of another length": ("plan#000000", lambda e: [msgspec.structs.replace(e, digest=bytes(31))]),
    "one entry twice": ("plan#000000", lambda e: [e, e]),
}


@pytest.mark.parametrize("what", BAD_BUNDLES)
def test_bundles_that_cannot_be(package, what):
    """PKG-1, PKG-3, PKG-4: a bundle is sorted, has whole blobs, names nothing unknown and lacks nothing."""
    bundle = package.bundle
    assert sum(map(len, open_bundle(bundle).values())) == len(bundle.entries)
    with pytest.raises(MalformedEvidence):
        open_bundle(replace_entries(bundle, *BAD_BUNDLES[what]))


def test_bundles_are_sorted(package):
    """PKG-3: there is one order."""
    reverse = msgspec.structs.replace(package.bundle, entries=package.bundle.entries[::-1])
    with pytest.raises(MalformedEvidence):
        open_bundle(reverse)


def test_chunks_are_read_by_name(package):
    """Whoever uploads reads what is missing, one chunk at a time; all of them together are what is committed to."""
    data = {entry.name: package.read_chunk(entry.name) for entry in package.bundle.entries}
    for entry in package.bundle.entries:
        verify_chunk(entry, data[entry.name])
    assert sum(map(len, data.values())) == compute_bundle_bytes(package.bundle) == package.body.bundle_bytes


def test_every_altered_chunk_is_refused(package, tmp_path):
    """PKG-1: one byte more, one less, a bit flipped, in any chunk: refused, and nothing is left behind."""
    whole = blobs.MemoryBlobs(package)
    for digest, data in list(whole.chunks.items()):
        changes = [data + b"\0", data[:-1], bytes([data[0] ^ 1]) + data[1:], b""]
        for change in changes:
            whole.chunks[digest] = change
            with pytest.raises(ChunkWithheld) as refused:
                blobs.fetch(package, tmp_path / "copy", whole)
            assert refused.value.code == "package.withheld"
            assert not (tmp_path / "copy").exists()
        whole.chunks[digest] = data


def test_a_withheld_chunk_leaves_nothing_behind(package, tmp_path):
    """A chunk that nobody has ends the fetching, whichever it is; the folder is removed."""
    whole = blobs.MemoryBlobs(package)
    for digest in list(whole.chunks):
        data = whole.chunks.pop(digest)
        with pytest.raises(blobs.Missing):
            blobs.fetch(package, tmp_path / "copy", whole)
        assert not (tmp_path / "copy").exists()
        whole.chunks[digest] = data


@pytest.mark.parametrize("field", ["plan", "closing", "profile", "model_root", "steps", "interval_length", "metrics"])
def test_other_facts_are_refused(package, tmp_path, field):
    """PKG-9: blobs of one run do not serve a commitment to another."""
    value = getattr(package.body, field)
    other = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
    body = msgspec.structs.replace(package.body, **{field: other})
    with pytest.raises(fetching.FactsContradicted):
        Fetcher(blobs.MemoryBlobs(package), body, package.context, max_bytes=blobs.PLENTY).write(tmp_path / "copy")


def test_another_context_is_refused(package, tmp_path):
    """PKG-7, PKG-9: the blobs of one account's submission are of no use to another account."""
    context = compute_context(get_public_key(runs.AUDITOR), blobs.CHAIN, 0)
    with pytest.raises(fetching.FactsContradicted):
        Fetcher(blobs.MemoryBlobs(package), package.body, context, max_bytes=blobs.PLENTY).write(tmp_path / "copy")


def test_another_model_file_is_refused(package, tmp_path):
    """PKG-9: the digest of the model file is that of the model in the last state."""
    copy = blobs.fetch(package, tmp_path / "copy")
    with pytest.raises(fetching.FactsContradicted):
        verify_copy(copy, msgspec.structs.replace(package.body, model_file=bytes(32)))


def test_other_checkpoints_are_refused(package):
    """PKG-5: the list of checkpoints in the index is the committed one."""
    root = msgspec.structs.replace(package.body.checkpoints, root=bytes(32))
    body = msgspec.structs.replace(package.body, checkpoints=root)
    with pytest.raises(MalformedEvidence):
        Fetcher(blobs.MemoryBlobs(package), body, package.context, max_bytes=blobs.PLENTY)


def test_a_large_package_is_refused_before_it_is_fetched(package):
    """A verifier states how much it takes; nothing is fetched, and the stated length must be the real one."""
    source = blobs.MemoryBlobs(package)
    with pytest.raises(fetching.PackageTooLarge):
        Fetcher(source, package.body, package.context, max_bytes=package.body.bundle_bytes - 1)
    assert source.asked == []
    body = msgspec.structs.replace(package.body, bundle_bytes=1)
    with pytest.raises(MalformedEvidence):
        Fetcher(source, body, package.context, max_bytes=blobs.PLENTY)


def test_a_run_without_its_last_state_cannot_be_submitted(honest, tmp_path):
    """PKG-6: the state at the end is part of every package."""
    copy = runs.copy(honest, tmp_path / "copy")
    (copy / "checkpoints" / f"{runs.STEPS}.bin").unlink()
    with pytest.raises(StateMissing):
        blobs.make_package(copy)


def test_state_blobs_are_header_and_tensors(honest, package):
    """PKG-6: the header's records give the committed state root, and their bytes follow one after the other."""
    entry = package.checkpoints[1]
    data = package.sources[f"state/{entry.step}"]()
    size = int.from_bytes(data[:8], "little")
    header = decode(data[8 : 8 + size], StateHeader)
    assert compute_state_root(header.records, header.aliases) == entry.state_root
    assert len(data) == 8 + size + sum(record.nbytes for record in header.records) == entry.nbytes
    assert encode(header) == data[8 : 8 + size]
    with RunDirectory.open(honest) as run:
        assert run.checkpoints.read_manifest(entry.step).state_root == entry.state_root


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """A run with a declared edit of two tensors, and its package."""
    path = tmp_path_factory.mktemp("edited") / "run"
    runs.record_apart(path, "edited", ASSAY_HOME=str(tmp_path_factory.mktemp("recorder")))
    return path, blobs.make_package(path)


def test_edits_travel_with_the_run(edited, tmp_path):
    """PKG-4: the list of events and each tensor of an edit are blobs; the copy replays across the edit, bit for bit."""
    path, package = edited
    names = {entry.name.partition("#")[0] for entry in package.bundle.entries}
    assert "events" in names
    assert sum(name.startswith("edit/") for name in names) == 2
    copy = blobs.fetch(package, tmp_path / "copy")
    verify_copy(copy, package.body)
    run = RecordedRun(copy)
    assert [stored.event.step for stored in run.events] == [runs.EDITED]
    hasher = WorkHasher()
    recomputer = Recomputer(Replayer(run, TorchBackend(run.start.aliases, hasher)), hasher)
    assert recomputer.answer(runs.EDITED // runs.LENGTH, bytes(32)).matches
    original = RecordedRun(path)
    assert [row.leaf.state_root for row in run.rows] == [row.leaf.state_root for row in original.rows]


def test_a_package_without_its_edit_is_refused(edited, tmp_path):
    """PKG-9: without an edit, or with other bytes in its place, a run is not available: nobody could replay it."""
    _, package = edited
    whole = blobs.MemoryBlobs(package)
    for entry in package.bundle.entries:
        if entry.name.startswith(("edit/", "events")):
            data = whole.chunks.pop(entry.digest)
            with pytest.raises(blobs.Missing):
                blobs.fetch(package, tmp_path / "copy", whole)
            whole.chunks[entry.digest] = data[:-1] + bytes([data[-1] ^ 1])
            with pytest.raises(ChunkWithheld):
                blobs.fetch(package, tmp_path / "copy", whole)
            whole.chunks[entry.digest] = data
    assert not (tmp_path / "copy").exists()

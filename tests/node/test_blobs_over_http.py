"""Blobs over HTTP: only what a submission commits to is taken, verified on the way in and out, resumed, and kept."""

import httpx
import pytest

from assay.client.node_client import BlobRefuted
from assay.client.transport import RefusedByNode
from assay.node.bundles import BundleLimits
from assay.protocol.contracts.stake_records import DepositStake
from assay.protocol.encoding import encode
from assay.protocol.evidence.bundle import Bundle, BundleEntry
from assay.protocol.hashing import compute_bulk_digest
from assay.protocol.signatures import get_public_key
from experiments.simulation.runs import PretendedRun
from tests.node.running import ALICE, running_node

VERIFIERS = tuple(bytes([number]) * 32 for number in range(1, 7))
OBJECTS = {compute_bulk_digest(data): data for data in (b"plan", b"transcript" * 5000, bytes(100_000), b"")}


def make_bundle(objects=None):
    """Return the encoded bundle of some objects."""
    objects = OBJECTS if objects is None else objects
    entries = sorted((f"object-{number}", digest, len(data)) for number, (digest, data) in enumerate(objects.items()))
    return encode(Bundle(0, tuple(BundleEntry(*entry) for entry in entries)))


@pytest.fixture
def node(tmp_path):
    """A node with small quotas, whose blocks come quickly."""
    limits = BundleLimits(per_submission=400_000, total=500_000, reserve=0)
    balances = {get_public_key(seed): 1_000_000 for seed in (ALICE, *VERIFIERS)}
    with running_node(tmp_path / "node", interval_ms=10, bundles=limits, balances=balances) as running:
        with running.connect() as client:
            deposits = [client.send(seed, DepositStake(2_000)) for seed in VERIFIERS]
            staked = max(client.wait(deposit.id).height for deposit in deposits)
            wait_for_height(client, staked + 10)  # the next snapshot, and its age
        yield running


def wait_for_height(client, height):
    """Return when the ledger has this height."""
    for event in client.iterate_blocks(height - 1):
        if event.height >= height:
            return


def submit(node, client, bundle, *, nbytes=200_000, name="run", nonce=0):
    """Commit to a run with this bundle; return the id of the submission."""
    account = get_public_key(ALICE)
    run = PretendedRun(name, 4, frozenset(), client.chain.chain_id, account, nonce)
    height = client.get_status().height
    body = run.make_body(height, bundle=compute_bulk_digest(bundle), bundle_bytes=nbytes, bond=1_000, sub_quorum=5)
    built = client.send(ALICE, body)
    inclusion = client.wait(built.id)
    assert inclusion.result.code == "", inclusion.message
    return run.submission


def test_a_bundle_is_uploaded_resumed_and_fetched(node, tmp_path):
    """Half of it, then the rest after a break; each object comes back verified; nothing is missing at the end."""
    bundle = make_bundle()
    with node.connect() as client:
        submission = submit(node, client, bundle)
        given = []

        def give_one(digest):
            if given:
                raise ConnectionError
            given.append(digest)
            return OBJECTS[digest]

        with pytest.raises(ConnectionError):
            client.upload(submission, bundle, give_one)
        assert len(client.list_missing(submission)) == len(OBJECTS) - 1
        told = []
        client.upload(submission, bundle, OBJECTS.__getitem__, lambda done, total: told.append((done, total)))
        assert told[-1][0] == told[-1][1]
        assert client.list_missing(submission) == []
        assert client.fetch_bundle(submission, compute_bulk_digest(bundle)) == bundle
        assert all(client.fetch_blob(digest) == data for digest, data in OBJECTS.items())


def test_nothing_is_taken_that_no_submission_commits_to(node):
    """Unknown submissions, other bundles, other bytes, undeclared objects, too many bytes: refused with their codes."""
    bundle = make_bundle()
    binary = {"content-type": "application/octet-stream"}
    with node.connect() as client, httpx.Client(base_url=f"{node.url}/api/v1/blobs") as http:
        submission = submit(node, client, bundle)
        small = submit(node, client, bundle, nbytes=10, name="small", nonce=1)
        broken = submit(node, client, b"no bundle", name="broken", nonce=2)
        digest = compute_bulk_digest(b"plan")
        for path, body, status, code in (
            (f"/bundles/{'ab' * 32}", bundle, 404, "bundles.submission-unknown"),
            (f"/bundles/{submission.hex()}", bundle + b"x", 400, "bundles.refused"),
            (f"/bundles/{small.hex()}", bundle, 400, "bundles.refused"),
            (f"/bundles/{broken.hex()}", b"no bundle", 400, "bundles.refused"),
            (f"/{digest.hex()}", b"plan", 404, "blobs.not-declared"),
        ):
            response = http.put(path, content=body, headers=binary)
            assert (response.status_code, response.json()["code"]) == (status, code)
        with pytest.raises(RefusedByNode) as caught:
            client.list_missing(submission)
        assert caught.value.remote_code == "blobs.hold-missing"
        assert http.put(f"/bundles/{submission.hex()}", content=bundle, headers=binary).status_code == 200
        for wrong in (b"Plan", b"plan and more", b""):
            response = http.put(f"/{digest.hex()}", content=wrong, headers=binary)
            assert (response.status_code, response.json()["code"]) == (400, "blobs.object")
        assert len(client.list_missing(submission)) == len(OBJECTS)


def test_quotas_of_the_node_hold_whatever_a_submission_promises(node):
    """More than is kept for one submission, or for all, is refused as having no room; nothing of it is declared."""
    big = {compute_bulk_digest(bytes([i]) * 90_000): bytes([i]) * 90_000 for i in range(5)}
    with node.connect() as client:
        bundle = make_bundle(big)
        submission = submit(node, client, bundle, nbytes=10**6)
        with pytest.raises(RefusedByNode) as caught:
            client.upload(submission, bundle, big.__getitem__)
        assert (caught.value.status, caught.value.remote_code) == (507, "blobs.quota")
        assert node.core.bundles.blobs.list_wanted(submission) == []


def test_damaged_missing_and_truncated_objects_are_never_served(node, tmp_path):
    """What was altered or cut on the disk is not served but asked for again; the client checks for itself too."""
    bundle = make_bundle()
    with node.connect() as client:
        submission = submit(node, client, bundle)
        client.upload(submission, bundle, OBJECTS.__getitem__)
        folder = tmp_path / "node" / "blobs" / "objects"
        digest = compute_bulk_digest(b"plan")
        for damage in (b"plaN", b"pla", b"plan+"):
            (folder / digest.hex()).write_bytes(damage)
            with pytest.raises(RefusedByNode) as caught:
                client.fetch_blob(digest)
            assert caught.value.remote_code == "blobs.missing"
            assert client.list_missing(submission) == [(digest, 4)]
            client.upload(submission, bundle, OBJECTS.__getitem__)
        assert client.fetch_blob(digest) == b"plan"
        with pytest.raises(BlobRefuted):
            client.fetch_bundle(submission, bytes(32))


def test_the_collector_keeps_what_an_open_submission_needs(node):
    """While the ledger may still ask for them the blobs stay, whatever the height."""
    bundle = make_bundle()
    with node.connect() as client:
        submission = submit(node, client, bundle)
        client.upload(submission, bundle, OBJECTS.__getitem__)
        assert node.core.bundles.collect(10**9) == (0, 0)
        assert client.list_missing(submission) == []
        node.core.collect()
        assert client.fetch_blob(compute_bulk_digest(b"plan")) == b"plan"

"""Submitting a recorded run: terms, cost, commitment, upload. An interrupted upload is taken up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from assay.client.builders import Payer, build_transaction
from assay.client.checking import Inclusion
from assay.client.node_client import NodeClient
from assay.client.submissions import read_submission
from assay.errors import UsageError
from assay.protocol.contracts.stake_records import Snapshot
from assay.protocol.contracts.stakes import compute_snapshot_height, snapshot_key
from assay.protocol.contracts.submission_keys import attempts_key
from assay.protocol.contracts.submission_records import Attempts
from assay.protocol.contracts.submission_rules import compute_escrow
from assay.protocol.encoding import encode
from assay.protocol.params import Parameters
from assay.protocol.signatures import get_public_key
from assay.training.recorded import RecordedRun
from assay.verification.package import Package, Terms, build_package

Progress = Callable[[str, int, int], None]

DEFAULT_SAMPLE = 10
DEFAULT_THRESHOLD = 5_000_000
"""Threshold c of the weight analysis, in millionths."""


class AnotherRun(UsageError):
    """The submission is of another run, another account, or other bytes."""

    code: ClassVar[str] = "submit.another-run"


@dataclass(frozen=True)
class Offer:
    """What a submitter leaves to the defaults with None.

    Attributes:
        sample: intervals drawn uniformly.
        sub_quorum: verifiers of each.
        bond, reward: points.
        retention: blocks for which the blobs are kept.
        measure, threshold_ppm: of the weight analysis that verifiers flag by.
    """

    sample: int | None = None
    sub_quorum: int | None = None
    bond: int | None = None
    reward: int | None = None
    retention: int | None = None
    measure: int = 0
    threshold_ppm: int = DEFAULT_THRESHOLD


@dataclass(frozen=True)
class Quote:
    """A run ready to be submitted, and what that takes.

    Attributes:
        package: the run under its context.
        payer: signs and pays.
        escrow: put aside for votes; what is not needed comes back.
        balance: of the account.
    """

    package: Package
    payer: Payer
    escrow: int
    balance: int

    @property
    def total(self) -> int:
        """Points that leave the balance at once: bond, escrow, fee."""
        return self.package.body.bond + self.escrow + self.payer.fee


def choose_terms(parameters: Parameters, height: int, intervals: int, attempt: int, offer: Offer) -> Terms:
    """Return an offer with its defaults filled in, within the parameters of the ledger."""
    rules = parameters.submissions
    most = min(rules.max_sample, intervals)
    return Terms(
        sample=min(DEFAULT_SAMPLE, most) if offer.sample is None else offer.sample,
        sub_quorum=rules.min_sub_quorum if offer.sub_quorum is None else offer.sub_quorum,
        measure=offer.measure,
        threshold_ppm=offer.threshold_ppm,
        bond=rules.minimum_bond if offer.bond is None else offer.bond,
        reward=max(rules.minimum_reward, 1) if offer.reward is None else offer.reward,
        retention=height + (min(rules.max_retention, 100_000) if offer.retention is None else offer.retention),
        attempt=attempt,
    )


def quote(client: NodeClient, path: Path, seed: bytes, offer: Offer, fee: int | None = None) -> Quote:
    """Prepare a submission and say what it takes; nothing is sent.

    Raises:
        NotFinished, StateMissing: the run cannot be submitted.
        VerificationError, StorageError: the run does not hold together.
        NetworkError: the node.
    """
    run = RecordedRun(path)
    account = client.get_account(get_public_key(seed))
    parameters, height = client.chain.genesis.parameters, account.height
    attempts = client.get_state(attempts_key(run.plan_id), Attempts).value
    attempt = 1 + (0 if attempts is None else attempts.count)
    terms = choose_terms(parameters, height, run.intervals, attempt, offer)
    nonce = 0 if account.value is None else account.value.nonce
    package = build_package(run, seed=seed, chain_id=client.chain.chain_id, nonce=nonce, terms=terms)
    snapshot = client.get_state(snapshot_key(compute_snapshot_height(height + 1, parameters)), Snapshot).value
    seats = () if snapshot is None else snapshot.seats
    eligible = sum(seat.account != get_public_key(seed) for seat in seats)
    balance = 0 if account.value is None else account.value.balance
    return Quote(package, client.make_payer(seed, fee), compute_escrow(parameters, package.body, eligible), balance)


def submit(client: NodeClient, quoted: Quote, progress: Progress | None = None) -> Inclusion:
    """Commit to a run on the ledger, wait for the block, then upload its blobs.

    Returns:
        The proven transaction; its result may be a refusal, and then nothing was uploaded.

    Raises:
        NetworkError, RefusedByNode: committed or not, `resume` goes on with the upload.
    """
    say = progress or (lambda _what, _done, _total: None)
    built = build_transaction(quoted.payer, quoted.package.body)
    say("committing", 0, 1)
    client.submit(built.data)
    inclusion = client.wait(built.id)
    say("committing", 1, 1)
    if not inclusion.result.code:
        upload(client, quoted.package, progress)
    return inclusion


def upload(client: NodeClient, package: Package, progress: Progress | None = None) -> None:
    """Upload what the node still wants of a package."""
    names = {entry.digest: entry.name for entry in package.bundle.entries}
    say = progress or (lambda _what, _done, _total: None)
    client.upload(
        package.context,
        encode(package.bundle),
        lambda digest: package.read_chunk(names[digest]),
        lambda done, total: say("uploading", done, total),
    )


def resume(client: NodeClient, path: Path, seed: bytes, identity: bytes, progress: Progress | None = None) -> Package:
    """Go on with the upload of a run that was committed to before.

    Raises:
        AnotherRun: the submission is not of this run and account.
        SubmissionMissing: there is no such submission.
    """
    body = read_submission(client, identity).submission.run
    terms = Terms(**{name: getattr(body, name) for name in Terms.__struct_fields__})
    run = RecordedRun(path)
    package = build_package(run, seed=seed, chain_id=client.chain.chain_id, nonce=body.context_nonce, terms=terms)
    if package.context != identity or package.body != body:
        raise AnotherRun(
            "this submission is not of this run and key",
            expected=identity.hex(),
            actual=package.context.hex(),
            next_step="give the folder and the key with which it was submitted",
        )
    upload(client, package, progress)
    return package

"""What is lost by being absent, by committing without a valid reveal, and by two different signed statements.

Nothing else is ever slashed: being outvoted costs the reward alone.

Source: `spec/submissions.md`, SUB-31 to SUB-33.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.errors import InvalidTransaction
from assay.protocol.amounts import compute_share
from assay.protocol.contracts.accounts import burn, credit
from assay.protocol.contracts.stakes import get_slashable, slash, slash_and_burn
from assay.protocol.contracts.submission_bodies import AttestAvailability, CommitVotes, ReportEquivocation
from assay.protocol.contracts.submission_keys import equivocation_key, status_key
from assay.protocol.contracts.submission_records import FINAL, WITHDRAWN, Reference, SubmissionStatus
from assay.protocol.contracts.submission_rejections import EquivocationUnproven
from assay.protocol.contracts.submission_status import get_submission, record_payment
from assay.protocol.environment import Environment
from assay.protocol.state_view import StateView
from assay.protocol.transactions import OpenedTransaction, open_transaction


def punish_absence(view: StateView, environment: Environment, identity: bytes, absent: Sequence[bytes]) -> None:
    """Burn a little of the stake of who neither committed nor abstained, for each vote (SUB-31)."""
    penalty = environment.parameters.stakes.absence_penalty
    for account in dict.fromkeys(absent):
        lost = slash_and_burn(view, environment.parameters, account, penalty * absent.count(account))
        record_payment(view, identity, account, "absence", lost)


def punish_broken_reveals(view: StateView, environment: Environment, identity: bytes, broken: Sequence[bytes]) -> None:
    """Burn a share of the stake of who committed and did not reveal, once in a round (SUB-32)."""
    for account in dict.fromkeys(broken):
        stake = get_slashable(view, account)
        share = max(compute_share(stake, environment.parameters.stakes.broken_reveal_ppm), 1)
        lost = slash_and_burn(view, environment.parameters, account, share)
        record_payment(view, identity, account, "broken-reveal", lost)


def apply_report(view: StateView, environment: Environment, sender: bytes, body: ReportEquivocation) -> None:
    """Slash an account that signed two different commitments for the same vote or secret (SUB-33).

    Raises:
        EquivocationUnproven: the two transactions do not prove it, it was proven before, or the submission is over.
    """
    first, second = _open_evidence(environment, body.first), _open_evidence(environment, body.second)
    account = first.transaction.account
    if account != second.transaction.account or account == sender:
        raise EquivocationUnproven("not two transactions of one account other than the reporter")
    identity = _find_contradiction(first, second)
    submission = get_submission(view, identity)
    status = view.expect(status_key(identity), SubmissionStatus)
    if status.phase in {FINAL, WITHDRAWN}:
        raise EquivocationUnproven("the submission is over", actual=status.phase)
    key = equivocation_key(submission.submission, account)
    if view.read(key, Reference) is not None:
        raise EquivocationUnproven("it was proven before")
    view.write(key, Reference(identity))
    rules = environment.parameters.stakes
    share = compute_share(get_slashable(view, account), rules.equivocation_ppm)
    lost = slash(view, environment.parameters, account, share)
    reward = compute_share(lost, rules.reporter_ppm)
    credit(view, sender, reward)
    burn(view, lost - reward)
    record_payment(view, identity, account, "equivocation", lost)
    record_payment(view, identity, sender, "report-reward", reward)


def _open_evidence(environment: Environment, data: bytes) -> OpenedTransaction:
    try:
        return open_transaction(environment.chain_id, data, environment.parameters.max_transaction_bytes)
    except InvalidTransaction as error:
        raise EquivocationUnproven("the evidence is no signed transaction of this ledger", actual=error.code) from None


def _find_contradiction(first: OpenedTransaction, second: OpenedTransaction) -> bytes:
    """Return the submission about which two transactions contradict each other."""
    match first.transaction.body, second.transaction.body:
        case CommitVotes() as one, CommitVotes() as other:
            stated = {each.interval: each.commitment for each in one.commitments}
            differ = any(stated.get(each.interval, each.commitment) != each.commitment for each in other.commitments)
            differ = differ or bool(one.private and other.private and one.private != other.private)
            if differ and (one.submission, one.round) == (other.submission, other.round):
                return one.submission
        case AttestAvailability() as one, AttestAvailability() as other:
            if one.submission == other.submission and one.secret_commitment != other.secret_commitment:
                return one.submission
        case _:
            pass
    raise EquivocationUnproven("the two transactions do not contradict each other")

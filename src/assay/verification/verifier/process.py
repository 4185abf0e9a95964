"""The verifier: looks at the ledger, does what is due, and can be killed at any moment.

What is due follows from the ledger, what was answered from the journal; nothing else is remembered. Fetching and
recomputing run in threads of their own, so that a long recomputation never makes a reveal late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from assay.errors import AssayError, MalformedEvidence, NetworkError, Refuted, StorageError
from assay.protocol.contracts.submission_bodies import AttestAvailability, FlagIntervals
from assay.protocol.evidence.bundle import Checkpoint
from assay.protocol.evidence.draw import compute_draw_id
from assay.protocol.evidence.votes import compute_secret_commitment, compute_work_key
from assay.protocol.transactions import Body
from assay.storage.vote_journal import VoteJournal
from assay.verification.verifier.answers import (
    build_abstentions,
    build_commit,
    build_reveal,
    get_claimed_start,
    keep_findings,
    list_questions,
)
from assay.verification.verifier.copies import Copies
from assay.verification.verifier.duties import ATTEST, FETCH, FLAG, OPEN, VOTE, Duty, find_duty, is_over, select_own
from assay.verification.verifier.judging import Finding, Judge, find_why_not
from assay.verification.verifier.ledger import (
    Ledger,
    SubmissionView,
    count_submissions,
    find_submission,
    is_eligible,
    read_status,
    read_view,
)

Analyst = Callable[[Path, SubmissionView], Sequence[int]]
"""From a fetched run to the intervals that its weights make suspicious, the most suspicious first."""

Say = Callable[[str], None]

_DutyKey = tuple[bytes, str, int]
"""Submission, kind of a duty, round."""

_PATIENCE, _MOST_PATIENCE = 4, 32
"""Blocks after which something that was refused or failed is tried again; doubled each time, up to the second."""


class Verifier:
    """One verifier on one ledger.

    Args:
        account: public key, 32 bytes; `ledger` signs with it.
        ledger: reads, fetches, sends.
        journal: of this account on this ledger.
        copies: fetched runs.
        judge: answers what is asked.
        analyst: finds suspicious intervals; None: flags nothing.
        say: is told what was done, in sentences.
    """

    def __init__(
        self,
        account: bytes,
        ledger: Ledger,
        journal: VoteJournal,
        copies: Copies,
        judge: Judge,
        *,
        analyst: Analyst | None = None,
        say: Say = lambda _: None,
    ) -> None:
        self.account = account
        self.ledger = ledger
        self.journal = journal
        self.copies = copies
        self.judge = judge
        self.analyst = analyst
        self.say = say
        self._actions = {
            ATTEST: self._attest,
            FETCH: self._fetch,
            FLAG: self._flag,
            VOTE: self._vote,
            OPEN: self._open,
        }
        self._known: list[bytes] = []  # ids by number
        self._over: set[bytes] = set()
        self._settled: dict[bytes, tuple[str, int]] = {}
        self._later: dict[_DutyKey, tuple[int, int]] = {}  # duty -> next height, patience
        self._work: dict[_DutyKey, Future[Any]] = {}
        self._fetcher = ThreadPoolExecutor(1, thread_name_prefix="assay-fetch")
        self._computer = ThreadPoolExecutor(1, thread_name_prefix="assay-recompute")

    def close(self) -> None:
        """Forget what is under way; a worker process ends by itself when this process does."""
        self._fetcher.shutdown(wait=False, cancel_futures=True)
        self._computer.shutdown(wait=False, cancel_futures=True)
        self.judge.close()

    def run(self, is_stopped: Callable[[], bool], *, pause: float = 0.5) -> None:
        """Work until told to stop; what the network does not answer is asked again.

        Raises:
            Refuted: the ledger contradicts itself.
        """
        while not is_stopped():
            try:
                self.look()
            except Refuted:  # two blocks of one height: nothing from this ledger can be relied on
                raise
            except AssayError as error:
                self.say(f"the ledger does not answer: {error.message}")
            with suppress(NetworkError):
                self.ledger.wait(pause)

    def look(self) -> int:
        """Look at every open submission once and do what is due and possible now; return how many are open.

        Raises:
            NetworkError: the ledger cannot be reached.
        """
        height, count = self.ledger.get_height(), count_submissions(self.ledger)
        while len(self._known) < count:
            self._known.append(find_submission(self.ledger, len(self._known)))
        views = [view for identity in self._known if (view := self._read_if_due(identity)) is not None]
        order = {OPEN: 0, VOTE: 1, FLAG: 2, ATTEST: 3, FETCH: 4}
        due = []
        for number, view in enumerate(views):
            duty = find_duty(view, self.account)
            if duty is None:
                self._settle(view)
            else:
                due.append((order[duty.kind], number, view, duty))
        for _, _, view, duty in sorted(due, key=lambda item: item[:2]):
            self._do(view, duty, height)
        return count - len(self._over)

    def _read_if_due(self, identity: bytes) -> SubmissionView | None:
        """Return a submission if there may be something to do: it is not over, and went on since the last look."""
        if identity in self._over:
            return None
        if any(key[0] == identity and not future.done() for key, future in self._work.items()):
            return None
        status = read_status(self.ledger, identity)
        if is_over(status):
            self._over.add(identity)
            self.copies.remove(identity)
            return None
        if self._settled.get(identity) == (status.phase, status.round):
            return None
        return read_view(self.ledger, identity, self.account)

    def _settle(self, view: SubmissionView) -> None:
        """Note that nothing more is due until the submission goes on."""
        self._settled[view.identity] = (view.status.phase, view.status.round)

    def _do(self, view: SubmissionView, duty: Duty, height: int) -> None:
        """Do one duty as far as it can be done now; a failure is said, and tried again after some blocks."""
        key = (view.identity, duty.kind, duty.round)
        due, patience = self._later.get(key, (0, _PATIENCE))
        if height < due:
            return
        try:
            code = self._actions[duty.kind](view, duty)
        except AssayError as error:
            code = f"{error.code}: {error.message}"
        if code:
            self._work.pop(key, None)
            self._later[key] = (height + patience, min(patience * 2, _MOST_PATIENCE))
            self.say(f"{duty.kind} of submission {view.submission.number} failed: {code}")

    def _start(self, key: _DutyKey, pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
        """Start work in a thread, or return what it gave; None while it goes on.

        Raises:
            AssayError: what the work raised.
        """
        future = self._work.get(key)
        if future is None:
            self._work[key] = pool.submit(work)
            return None
        if not future.done():
            return None
        del self._work[key]
        return future.result()

    def _attest(self, view: SubmissionView, duty: Duty) -> str:
        if not is_eligible(self.ledger, view.submission, self.account):
            self._settle(view)
            return ""
        key = (view.identity, duty.kind, duty.round)
        if self._start(key, self._fetcher, lambda: self.copies.fetch(self.ledger, view.submission)) is None:
            return ""
        secret = self.journal.make_secret(view.identity)
        commitment = compute_secret_commitment(self.ledger.chain_id, view.identity, self.account, secret)
        return self._send(
            AttestAvailability(view.identity, commitment),
            f"attested that submission {view.submission.number} is available: every byte was fetched and checked",
        )

    def _fetch(self, view: SubmissionView, duty: Duty) -> str:
        if self.copies.has(view.identity) or not is_eligible(self.ledger, view.submission, self.account):
            self._settle(view)
            return ""
        key = (view.identity, duty.kind, duty.round)
        self._start(key, self._fetcher, lambda: self.copies.fetch(self.ledger, view.submission))
        return ""

    def _flag(self, view: SubmissionView, duty: Duty) -> str:
        if self.analyst is None:
            return ""
        analyst, key = self.analyst, (view.identity, duty.kind, duty.round)
        found = self._start(
            key, self._computer, lambda: list(analyst(self.copies.fetch(self.ledger, view.submission), view))
        )
        if found is None:
            return ""
        rules = self.ledger.parameters.submissions
        room = min(rules.flags_per_verifier, rules.max_flags - view.status.flags)
        wanted = [number for number in found if number not in view.taken][: max(room, 0)]
        if not wanted:
            self._settle(view)
            return ""
        return self._send(
            FlagIntervals(view.identity, tuple(sorted(wanted))),
            f"flagged intervals {sorted(wanted)} of submission {view.submission.number} by their weights",
        )

    def _vote(self, view: SubmissionView, duty: Duty) -> str:
        own = self._get_own(view, duty)
        questions = list_questions(view, duty, own)
        open_ = [question for question in questions if self.journal.get_vote(question) is None]
        abstained: dict[Any, str] = {}
        if open_:
            numbers = sorted({question.interval for question in open_})
            key = (view.identity, duty.kind, duty.round)
            findings = self._start(key, self._computer, lambda: self._recompute(view, numbers, key))
            if findings is None:
                return ""
            checkpoints = self._read_checkpoints(view) if any(f.is_recomputed for f in findings.values()) else ()
            abstained = keep_findings(
                self.journal, open_, findings, lambda number: get_claimed_start(view.submission, checkpoints, number)
            )
        for abstention in build_abstentions(view, duty, abstained):
            reason = f"abstained from {list(abstention.intervals)} of submission {view.submission.number}"
            code = self._send(abstention, f"{reason}: {abstention.reason}")
            if code:
                return code
        commit = build_commit(self.journal, self.ledger.chain_id, self.account, view, duty, own)
        if commit is None:
            return ""
        numbers = [entry.interval for entry in commit.commitments]
        private = f" and {len(commit.private)} of its own" if commit.private else ""
        return self._send(commit, f"committed to votes about {numbers}{private} of submission {view.submission.number}")

    def _recompute(self, view: SubmissionView, numbers: Sequence[int], duty: _DutyKey) -> Mapping[int, Finding]:
        if view.draw is None:
            return {}
        try:
            run = self.copies.fetch(self.ledger, view.submission)
        except (NetworkError, StorageError, MalformedEvidence, Refuted) as error:
            if isinstance(error, NetworkError) and self._has_time(view, duty):
                raise  # it is asked for again
            return dict.fromkeys(numbers, find_why_not(error))
        key = compute_work_key(compute_draw_id(view.draw.facts), self.account)
        return self.judge.judge(run, numbers, key)

    def _has_time(self, view: SubmissionView, duty: _DutyKey) -> bool:
        """Return whether one more try comes before the last quarter of the time to commit."""
        _, patience = self._later.get(duty, (0, _PATIENCE))
        last = view.status.deadline - self.ledger.parameters.submissions.commit_blocks // 4
        return self.ledger.get_height() + patience < last

    def _open(self, view: SubmissionView, duty: Duty) -> str:
        own = self._get_own(view, duty)
        reveal = build_reveal(self.journal, lambda: self._read_checkpoints(view), view, duty, own)
        if reveal is None:
            return "nothing in the journal answers this: was it restored from an old copy?"
        numbers = [vote.interval for vote in reveal.votes]
        return self._send(reveal, f"opened votes about {numbers} of submission {view.submission.number}")

    def _read_checkpoints(self, view: SubmissionView) -> tuple[Checkpoint, ...]:
        try:
            return self.copies.read_checkpoints(view.identity)
        except StorageError:
            self.copies.fetch(self.ledger, view.submission)
            return self.copies.read_checkpoints(view.identity)

    def _get_own(self, view: SubmissionView, duty: Duty) -> tuple[int, ...]:
        secret = self.journal.get_secret(view.identity)
        if not duty.private or secret is None:
            return ()
        return select_own(view, secret, self.ledger.parameters.submissions.private_intervals)

    def _send(self, body: Body, sentence: str) -> str:
        code = self.ledger.send(body)
        if not code:
            self.say(sentence)
        return code

"""What a verifier must never lose or contradict: its secrets and its votes, on the disk before anybody hears of them.

A vote is written once. Whoever asks for it again, after a crash too, gets the same bytes, so that no kill at any moment
makes two different commitments for one interval, or a commitment that cannot be opened. The file is `votes.jsonl` in a
folder of the account, mode 0600 in a folder of mode 0700; it is not encrypted.

Source: `spec/submissions.md`.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, NamedTuple, Self

from assay.errors import AssayError, StorageError, UsageError
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.votes import Vote
from assay.storage.files import Files, FileTaken, naming
from assay.storage.json_lines import JsonLines

FILE: Final = "votes.jsonl"


class JournalUnderWay(StorageError):
    """Another process votes for the same account."""

    code: ClassVar[str] = "journal.under-way"


class JournalExposed(StorageError):
    """A journal that others may read or change."""

    code: ClassVar[str] = "journal.exposed"


class JournalDamaged(StorageError):
    """A line of a journal that is not one of its own."""

    code: ClassVar[str] = "journal.damaged"


class SecondVote(UsageError):
    """Another vote is in the journal already; a verifier has one answer to a question."""

    code: ClassVar[str] = "journal.second-vote"


class Question(NamedTuple):
    """What a vote answers: submission (32 bytes), round, interval, and whether it is the verifier's own interval."""

    submission: bytes
    round: int
    interval: int
    is_private: bool


class VoteJournal:
    """The journal of one account on one ledger, held by one process at a time; a context manager.

    Args:
        folder: of this account and ledger; made if it is missing.
        files: the disk.

    Raises:
        JournalUnderWay: another process holds it.
        JournalExposed: others may read or change it.
        JournalDamaged, LineDamaged: it is not as it was written.
        StorageError: the disk.
    """

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self._files = files or Files()
        self._folder = folder
        with naming(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._lock = self._files.lock(folder / "lock")
        except FileTaken as error:
            raise JournalUnderWay(
                "another process votes for this account",
                actual=f"process {error.pid or 'unknown'}",
                next_step="stop it first: two processes could answer one question twice",
            ) from None
        try:
            self._open_private(folder / FILE)
            self._lines = JsonLines(self._files, folder / FILE, synced=True)
            self._secrets: dict[bytes, bytes] = {}
            self._votes: dict[Question, Vote] = {}
            for number, line in enumerate(self._lines.iterate(), start=1):
                self._take(number, line)
        except BaseException:
            self._files.close(self._lock)
            raise

    def _open_private(self, path: Path) -> None:
        if self._files.get_kind(path) == "missing":
            with naming(path):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._files.fsync_dir(path.parent)
        for part in (path, path.parent):
            with naming(part):
                mode = stat.S_IMODE(part.lstat().st_mode)
            if mode & 0o077:
                raise JournalExposed(
                    f"{part} can be read or changed by others",
                    expected="mode 600 in a folder of mode 700",
                    actual=f"mode {mode:o}",
                    next_step=f"chmod go-rwx {part}; secrets that others read let them copy your private intervals",
                )

    def _take(self, number: int, line: dict[str, Any]) -> None:
        try:
            {"secret": self._take_secret, "vote": self._take_vote}[line["kind"]](line)
        except (KeyError, TypeError, ValueError, AssayError) as error:
            raise JournalDamaged(
                f"line {number} of {self._folder / FILE} is no vote and no secret",
                actual=f"{type(error).__name__}: {error}",
                next_step="restore it from a copy; without it, do not vote on what was committed",
            ) from None

    def _take_secret(self, line: dict[str, Any]) -> None:
        self._secrets[bytes.fromhex(line["submission"])] = bytes.fromhex(line["secret"])

    def _take_vote(self, line: dict[str, Any]) -> None:
        question = Question(
            bytes.fromhex(line["submission"]), int(line["round"]), int(line["interval"]), line["private"] is True
        )
        self._votes[question] = decode(bytes.fromhex(line["vote"]), Vote)

    def get_secret(self, submission: bytes) -> bytes | None:
        """Return the secret for a submission, 32 bytes, or None: there is none yet."""
        return self._secrets.get(submission)

    def make_secret(self, submission: bytes) -> bytes:
        """Return the secret for a submission; it is on the disk before this returns."""
        known = self._secrets.get(submission)
        if known is not None:
            return known
        made = secrets.token_bytes(32)
        self._lines.append({"kind": "secret", "submission": submission.hex(), "secret": made.hex()})
        self._secrets[submission] = made
        return made

    def get_vote(self, question: Question) -> Vote | None:
        """Return the vote that answers a question, or None: it was not answered yet."""
        return self._votes.get(question)

    def keep_vote(self, question: Question, vote: Vote) -> None:
        """Write a vote; it is on the disk when this returns. The same one again changes nothing.

        Raises:
            SecondVote: another one is there.
            StorageError: the disk; nothing may be sent.
        """
        known = self._votes.get(question)
        if known == vote:
            return
        if known is not None:
            raise SecondVote("this question was answered already", actual=f"interval {question.interval}")
        self._lines.append(
            {
                "kind": "vote",
                "submission": question.submission.hex(),
                "round": question.round,
                "interval": question.interval,
                "private": question.is_private,
                "vote": encode(vote).hex(),
            }
        )
        self._votes[question] = vote

    def close(self) -> None:
        """Let another process hold it."""
        self._lines.close()
        self._files.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

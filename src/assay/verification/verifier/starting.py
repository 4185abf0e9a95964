"""Puts a verifier together: journal, copies, judge, analysis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assay.protocol.signatures import get_public_key
from assay.storage.paths import get_home
from assay.storage.vote_journal import VoteJournal
from assay.verification.memory_bound import choose_memory
from assay.verification.verifier.copies import Copies
from assay.verification.verifier.flags import find_suspicious
from assay.verification.verifier.judging import Judge, RecomputingJudge
from assay.verification.verifier.ledger import Ledger
from assay.verification.verifier.process import Say, Verifier


@dataclass(frozen=True)
class Limits:
    """What a verifier takes on.

    Attributes:
        memory: bytes of the worker beyond its start; None: a share of what is free.
        seconds: for one interval.
        package: bytes of the largest package.
    """

    memory: int | None
    seconds: float
    package: int


@contextmanager
def open_verifier(
    ledger: Ledger,
    seed: bytes,
    folder: Path | None,
    limits: Limits,
    *,
    flags: bool = True,
    judge: Judge | None = None,
    say: Say = lambda _: None,
) -> Iterator[Verifier]:
    """Give a verifier that is ready to run.

    Args:
        ledger: signs with the same key.
        seed: of the key, 32 bytes.
        folder: of journal and copies; None: below the home of this person.
        limits: what it takes on.
        flags: whether to analyse weights.
        judge: answers; None: recomputes.
        say: is told what was done.

    Raises:
        JournalUnderWay: another process votes for this account.
        StorageError: the journal is exposed or damaged, or the disk.
    """
    account = get_public_key(seed)
    place = folder or get_home() / "verifier" / f"{account.hex()[:16]}-{ledger.chain_id.hex()[:16]}"
    memory = choose_memory(1) if limits.memory is None else limits.memory
    with VoteJournal(place / "journal") as journal:
        verifier = Verifier(
            account,
            ledger,
            journal,
            Copies(place / "copies", max_bytes=limits.package),
            judge or RecomputingJudge(memory=memory, seconds=limits.seconds),
            analyst=find_suspicious if flags else None,
            say=say,
        )
        try:
            yield verifier
        finally:
            verifier.close()

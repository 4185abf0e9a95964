"""A verifier's journal: one answer to a question, on the disk before it is known, readable by its owner alone."""

import json
import stat

import pytest

from assay.protocol import tags
from assay.protocol.evidence.votes import DIFFERS, MATCHES, Vote
from assay.protocol.merkle import MerkleRoot, compute_root
from assay.storage.json_lines import LineDamaged
from assay.storage.vote_journal import (
    FILE,
    JournalDamaged,
    JournalExposed,
    JournalUnderWay,
    Question,
    SecondVote,
    VoteJournal,
)
from tests.storage.faults import Crash, FaultyFiles

NONE = MerkleRoot(tags.INTERVAL_LEAVES, 0, compute_root(tags.INTERVAL_LEAVES, ()))
RUN = bytes([7]) * 32


def vote(interval, outcome=MATCHES, salt=1):
    """Return a vote."""
    root = bytes([interval]) * 32
    return Vote(interval, outcome, root, root, NONE, root, root, 1, bytes([salt]) * 32)


def ask(interval, voting_round=0, *, is_private=False):
    """Return a question."""
    return Question(RUN, voting_round, interval, is_private)


def test_what_was_kept_is_there_again(tmp_path):
    """Secrets and votes come back as they were, from another process too."""
    with VoteJournal(tmp_path / "me") as journal:
        secret = journal.make_secret(RUN)
        assert journal.make_secret(RUN) == secret == journal.get_secret(RUN)
        assert journal.make_secret(bytes(32)) != secret
        journal.keep_vote(ask(3), vote(3))
        journal.keep_vote(ask(3, is_private=True), vote(3, salt=2))
        journal.keep_vote(ask(3, 1), vote(3, DIFFERS))
    with VoteJournal(tmp_path / "me") as journal:
        assert journal.get_secret(RUN) == secret
        assert journal.get_vote(ask(3)) == vote(3)
        assert journal.get_vote(ask(3, is_private=True)) == vote(3, salt=2)
        assert journal.get_vote(ask(3, 1)) == vote(3, DIFFERS)
        assert journal.get_vote(ask(4)) is None


def test_a_question_has_one_answer(tmp_path):
    """The same vote again changes nothing; another one is refused, after a restart too."""
    for _ in range(2):
        with VoteJournal(tmp_path / "me") as journal:
            journal.keep_vote(ask(3), vote(3))
            size = (tmp_path / "me" / FILE).stat().st_size
            journal.keep_vote(ask(3), vote(3))
            assert (tmp_path / "me" / FILE).stat().st_size == size
            for other in (vote(3, DIFFERS), vote(3, salt=9)):
                with pytest.raises(SecondVote):
                    journal.keep_vote(ask(3), other)


def test_two_processes_cannot_vote_for_one_account(tmp_path):
    """A second holder is refused until the first lets go."""
    with VoteJournal(tmp_path / "me"), pytest.raises(JournalUnderWay):
        VoteJournal(tmp_path / "me")
    VoteJournal(tmp_path / "me").close()


def test_nobody_else_reads_it(tmp_path):
    """File and folder are the owner's alone; a journal that others can read is refused."""
    VoteJournal(tmp_path / "me").close()
    file = tmp_path / "me" / FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o640)
    with pytest.raises(JournalExposed):
        VoteJournal(tmp_path / "me")
    file.chmod(0o600)
    file.parent.chmod(0o755)
    with pytest.raises(JournalExposed):
        VoteJournal(tmp_path / "me")


@pytest.mark.parametrize(
    "change",
    [
        lambda line: {**line, "kind": "guess"},
        lambda line: {**line, "vote": line["vote"][:-2]},
        lambda line: {**line, "vote": "zz"},
        lambda line: {**line, "round": None},
        lambda line: {name: value for name, value in line.items() if name != "interval"},
    ],
)
def test_foreign_lines_stop_it(tmp_path, change):
    """A verifier that does not know what it said says nothing."""
    with VoteJournal(tmp_path / "me") as journal:
        journal.keep_vote(ask(3), vote(3))
    file = tmp_path / "me" / FILE
    lines = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(change(json.loads(lines[0]))), *lines, ""]))
    with pytest.raises(JournalDamaged):
        VoteJournal(tmp_path / "me")


def test_a_line_that_was_lost_in_the_middle_stops_it(tmp_path):
    """Damage before the end is no torn write."""
    with VoteJournal(tmp_path / "me") as journal:
        journal.keep_vote(ask(3), vote(3))
        journal.keep_vote(ask(4), vote(4))
    file = tmp_path / "me" / FILE
    file.write_bytes(file.read_bytes()[5:])
    with pytest.raises(LineDamaged):
        VoteJournal(tmp_path / "me")


def keep_all(folder, files, done):
    """Tell a short story into a journal; `done` gets what was reported as kept."""
    with VoteJournal(folder, files) as journal:
        done.append((None, journal.make_secret(RUN)))
        for interval in range(3):
            journal.keep_vote(ask(interval), vote(interval))
            done.append((ask(interval), vote(interval)))


def test_what_was_reported_as_kept_survives_every_crash(tmp_path, rounds):
    """Death or loss of power at every call of the disk: what was returned before is there, and it goes on."""
    total = len(_run_with_faults(tmp_path / "count", 0)[0].names)
    for call in range(1, total + 1):
        for seed in range(rounds(3, 30)):
            files, done = _run_with_faults(tmp_path / f"disk{call}-{seed}", call, seed)
            left = tmp_path / f"left{call}-{seed}"
            files.lose_power(left, seed=seed * 1009 + call, page=64)
            (left / "me").chmod(0o700)
            (left / "me" / FILE).chmod(0o600)
            with VoteJournal(left / "me") as journal:
                for question, kept in done:
                    found = journal.get_secret(RUN) if question is None else journal.get_vote(question)
                    assert found == kept
                journal.keep_vote(ask(9), vote(9))


def _run_with_faults(disk, call, seed=0):
    disk.mkdir()
    VoteJournal(disk / "me").close()
    files, done = FaultyFiles(disk, fail_at=call, seed=seed), []
    try:
        keep_all(disk / "me", files, done)
    except Crash:
        assert call
    return files, done

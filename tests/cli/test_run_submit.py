"""`assay run submit|status|watch|certify` and `assay verifier doctor|earnings` against a real node with verifiers."""

import json

import pytest

from assay.cli.__main__ import main
from assay.node.founding import GENESIS
from assay.protocol.signatures import get_public_key
from assay.storage import keyring
from tests.client.network import SEEDS, running_network
from tests.node.running import ALICE
from tests.verification import runs


@pytest.fixture
def ask(capsys):
    """Return what runs a command with `--json` and gives exit code and answer."""

    def run(*words):
        code = main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads((out or err).splitlines()[-1])

    return run


def test_a_run_goes_before_a_ledger_from_the_command_line(tmp_path, ask, monkeypatch):
    """Quoted, submitted, followed, certified, verified; the verifiers' earnings are what they were paid."""
    runs.record_apart(tmp_path / "run", ASSAY_HOME=str(tmp_path / "recorder"))
    monkeypatch.setattr(keyring, "read_seed", lambda name, home=None: ALICE)  # the account that has points
    with running_network(tmp_path) as node:
        where = ("--node", node.url, "--anchor", node.folder / GENESIS)
        offer = ("--from", "alice", "--sample", 3, "--sub-quorum", 3, *where)
        code, quoted = ask("run", "submit", tmp_path / "run", *offer, "--dry-run")
        assert (code, quoted["dryRun"], quoted["sample"]) == (0, True, 3)
        code, sent = ask("run", "submit", tmp_path / "run", *offer)
        assert (code, sent["attempt"], sent["balanceAfter"]) == (0, 1, quoted["balanceAfter"])
        identity = sent["submission"]
        code, again = ask("run", "submit", tmp_path / "run", *offer, "--resume", identity)
        assert (code, again["uploaded"]) == (0, True)
        assert ask("run", "status", identity, *where)[1]["phase"] in {
            "availability",
            "draw",
            "flags",
            "commit",
            "reveal",
        }
        code, verdict = ask("run", "watch", identity, *where)
        assert (code, verdict["verdict"]) == (0, "accepted")
        certificate = tmp_path / "run.assay.json"
        assert ask("run", "certify", identity, "--key", "issuer", "--out", certificate, *where)[0] == 0
        earned = [ask("verifier", "earnings", get_public_key(seed).hex(), *where)[1]["points"] for seed in SEEDS]
        assert sum(earned) > 0
        assert min(earned) >= 0
        assert ask("run", "status", "00" * 32, *where)[0] == 2
    assert ask("verify", certificate, "--anchor", node.folder / GENESIS)[0] == 0
    assert ask("verify", certificate)[0] == 3


def test_the_doctor_says_what_this_machine_can_judge(tmp_path, ask):
    """Before any stake: profiles, speed, memory, and whether a run's known answers come out here."""
    runs.record_apart(tmp_path / "run", ASSAY_HOME=str(tmp_path / "recorder"))
    code, found = ask("verifier", "doctor", tmp_path / "run")
    assert code == 0
    assert len(found["profiles"]) == 2
    assert found["memoryFree"] > 0
    assert found["run"]["canJudge"]
    copy = runs.copy(tmp_path / "run", tmp_path / "copy")
    runs.change_closing(copy, runs.change_answers)
    assert not ask("verifier", "doctor", copy)[1]["run"]["canJudge"]

"""`assay run submit|status|watch|certify` and `assay verifier doctor|earnings` against a real node with verifiers."""

import json

import pytest

from assay.cli.__main__ import main
from assay.node.founding import GENESIS
from assay.protocol.signatures import get_public_key
from assay.storage import keyring
from assay.training.pytorch.backend import TorchBackend
from assay.training.recorded import RecordedRun
from assay.verification.forgery import forge, interpolate
from tests.client.network import SEEDS, Gated, await_final, running_network, submit
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
    gated = Gated()
    with running_network(tmp_path, judges=dict.fromkeys(range(5), gated)) as node:
        where = ("--node", node.url, "--anchor", node.folder / GENESIS)
        offer = ("--from", "alice", "--sample", 3, "--sub-quorum", 3, *where)
        code, quoted = ask("run", "submit", tmp_path / "run", *offer, "--dry-run")
        assert (code, quoted["dryRun"], quoted["sample"]) == (0, True, 3)
        code, sent = ask("run", "submit", tmp_path / "run", *offer)
        assert (code, sent["attempt"], sent["balanceAfter"]) == (0, 1, quoted["balanceAfter"])
        identity = sent["submission"]
        code, again = ask("run", "submit", tmp_path / "run", *offer, "--resume", identity)
        assert (code, again["uploaded"]) == (0, True)
        assert ask("run", "status", identity, *where)[1]["phase"] != "final"
        gated.gate.set()
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


def test_a_rejected_run_is_shown_with_its_differences(tmp_path, ask, monkeypatch):
    """`submissions show --recompute`: the false interval, its first step, tensors and distances, as audits do."""
    path, false = tmp_path / "run", tmp_path / "false"
    home = str(tmp_path / "recorder")
    runs.record_apart(path, ASSAY_HOME=home)
    opened = RecordedRun(path)
    first, last = opened.get_interval(runs.INTERVALS - 1)
    with monkeypatch.context() as patch:
        patch.setenv("ASSAY_HOME", home)
        skipped = frozenset(range(first + 1, last + 1))
        forge(path, false, TorchBackend(opened.start.aliases), edit=interpolate(first, last, 1.01), skip=skipped)
    with running_network(tmp_path) as node:
        where = ("--node", node.url, "--anchor", node.folder / GENESIS)
        good, bad = submit(node, path), submit(node, false)
        assert await_final(node, good).status.verdict == "accepted"
        assert await_final(node, bad).status.verdict == "rejected"
        code, shown = ask("submissions", "show", bad.hex(), "--recompute", *where)
        assert code == 0
        assert set(shown["attesters"]) <= {get_public_key(seed).hex() for seed in SEEDS}
        assert shown["attested"] == 10_000 * len(shown["attesters"]) > shown["eligible"] / 2
        (found,) = shown["differences"]
        assert (found["what"], found["result"]) == (f"interval {runs.INTERVALS - 1}", "differs")
        assert first < found["firstStep"] <= last
        assert found["cause"]
        assert found["tensors"]
        assert found["tensors"][0]["largest"] > 0
        assert main(["submissions", "show", bad.hex(), "--recompute", *map(str, where)]) == 0
        assert ask("submissions", "show", good.hex(), "--recompute", *where)[0] == 2

"""The nouns of the ledger on the command line: JSON, dry runs, exit codes, errors that say what to do."""

import json

import pytest

from assay.cli.__main__ import main
from assay.protocol.signatures import get_public_key
from assay.storage.anchors import add_anchor, list_anchors
from assay.storage.keyring import create_key
from tests.node.running import GENESIS, running_node


@pytest.fixture
def accounts(home):
    """Two keys of this person."""
    return {name: create_key(name) for name in ("alice", "bob")}


@pytest.fixture
def node(tmp_path, accounts):
    """A running node on which Alice has points, trusted as `test`."""
    with running_node(tmp_path / "node", balances={accounts["alice"]: 10_000}) as running:
        add_anchor("test", running.genesis)
        yield running


def run(capsys, *words):
    """Run a command; return its exit code and its JSON."""
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_points_are_sent_and_shown(node, accounts, capsys):
    """A dry run spends nothing; the real one is in a block, and both balances say so, with proofs."""
    address = ("--node", node.url)
    code, plan = run(capsys, "account", "send", "bob", "300", "--from", "alice", "--dry-run", *address)
    assert (code, plan["dryRun"], plan["balanceAfter"]) == (0, True, 9_699)
    assert run(capsys, "account", "show", "alice", *address)[1]["nonce"] == 0
    code, sent = run(capsys, "account", "send", accounts["bob"].hex(), "300", "--from", "alice", *address)
    assert (code, sent["amount"], sent["fee"]) == (0, 300, 1)
    assert sent["height"] >= 1
    code, shown = run(capsys, "account", "show", "bob", *address)
    assert (code, shown["balance"], shown["exists"]) == (0, 300, True)
    assert run(capsys, "account", "show", "alice", *address)[1]["balance"] == 9_699
    code, nobody = run(capsys, "account", "show", get_public_key(b"n" * 32).hex(), *address)
    assert (code, nobody["exists"], nobody["balance"]) == (0, False, 0)


def test_stake_goes_in_and_comes_out(node, capsys):
    """Deposited stake is shown as bonded, withdrawn stake as on its way with its height."""
    address = ("--node", node.url)
    assert run(capsys, "stake", "deposit", "3000", "--from", "alice", *address)[0] == 0
    assert run(capsys, "stake", "withdraw", "1000", "--from", "alice", *address)[0] == 0
    shown = run(capsys, "account", "show", "alice", *address)[1]
    assert shown["stake"] == 2000
    assert [each["amount"] for each in shown["unbonding"]] == [1000]
    code, refused = run(capsys, "stake", "withdraw", "9000", "--from", "alice", *address)
    assert code == 2
    assert refused["error"] == "ledger.refused"


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("account", "send", "bob", "99999", "--from", "alice"), 2, "ledger.not-enough"),
        (("account", "send", "nobody", "1", "--from", "alice"), 2, "ledger.account"),
        (("account", "send", "bob", "1", "--from", "nobody"), 2, "key.missing"),
        (("account", "send", "bob", "0", "--from", "alice"), 2, "ledger.refused"),
        (("account", "show", "alice", "--anchor", "unknown"), 2, "anchor.missing"),
        (("submissions", "show", "ab" * 32), 2, "client.submission-missing"),
        (("explain", "ab" * 32), 2, "client.submission-missing"),
    ],
)
def test_what_cannot_be_done_is_said_by_code(node, capsys, words, code, error):
    """Too few points, unknown names, refused transactions, unknown anchors and ids: exit code and stable code."""
    found, told = run(capsys, *words, "--node", node.url)
    assert (found, told["error"]) == (code, error)


def test_an_empty_ledger_lists_no_submission(node, capsys):
    """Listing and searching read the proven counter and find nothing."""
    for words in (("submissions", "list"), ("submissions", "search", "accepted")):
        assert run(capsys, *words, "--node", node.url) == (0, {"exit": 0, "submissions": []})


def test_without_a_node_or_an_anchor_nothing_is_claimed(accounts, capsys):
    """No anchor is wrong usage; no node at the address is exit 3, and says what to look at."""
    assert run(capsys, "account", "show", "alice")[1]["error"] == "anchor.missing"


def test_an_unreachable_node_is_exit_three(node, capsys):
    """Where nobody answers nothing is found."""
    code, told = run(capsys, "account", "show", "alice", "--node", "http://127.0.0.1:1")
    assert (code, told["error"]) == (3, "client.unreachable")
    assert told["nextStep"]


def test_ledgers_are_trusted_and_forgotten(node, home, capsys):
    """An anchor is added from a file, listed with its chain id, never replaced by another, and removed."""
    path = str(node.folder / GENESIS)
    code, added = run(capsys, "trust", "add", "mine", "--anchor", path)
    assert code == 0
    chain = added["added"]["chain"]
    assert run(capsys, "trust", "list")[1]["anchors"] == {"mine": chain, "test": chain}
    assert run(capsys, "trust", "add", "mine")[1]["error"] == "trust.what"
    assert run(capsys, "trust", "add", "mine", "ab" * 32, "--anchor", path)[1]["error"] == "trust.what"
    assert run(capsys, "trust", "add", "odd name", "--anchor", path)[1]["error"] == "anchor.name"
    (home / "garbage").write_bytes(b"garbage")
    assert run(capsys, "trust", "add", "bad", "--anchor", str(home / "garbage"))[1]["error"] == "anchor.damaged"
    assert run(capsys, "trust", "remove", "mine", "--anchor")[1] == {"removed": {"name": "mine", "chain": chain}}
    assert list_anchors() == ["test"]


def test_the_life_of_a_node_in_the_background(tmp_path, accounts, capsys):
    """Founded, started, asked, started again in vain, stopped, stopped again in vain: each with its code."""
    folder = ("--folder", str(tmp_path / "own"))
    start = ("node", "start", *folder, "--background", "--port", "0", "--blocks", "5000", "--block-time", "0.05")
    code, started = run(capsys, *start, "--fund", "alice=70", "--name", "mine")
    assert code == 0
    try:
        code, told = run(capsys, "node", "status", *folder)
        assert (code, told["pid"], told["url"]) == (0, started["pid"], started["url"])
        assert told["status"]["name"] == "mine"
        shown = run(capsys, "account", "show", "alice", "--node", started["url"], "--anchor", "mine")[1]
        assert shown["balance"] == 70
        code, second = run(capsys, *[word for word in start if word not in {"--blocks", "5000"}])
        assert (code, second["error"]) == (3, "node.stuck")
        code, again = run(capsys, *[word for word in start if word not in {"--blocks", "5000"}], "--fund", "bob=1")
        assert (code, again["error"]) == (2, "node.founded-already")
    finally:
        code, stopped = run(capsys, "node", "stop", *folder)
    assert (code, stopped["stopped"]) == (0, started["pid"])
    for verb in ("stop", "status"):
        code, told = run(capsys, "node", verb, *folder)
        assert (code, told["error"]) == (2, "node.not-running")
    for odd in ("alice", "alice=", "alice=x", "=5"):
        assert main(["node", "start", "--folder", str(tmp_path / "odd"), "--fund", odd]) == 2

"""The frame of the command: help, usage, nouns, JSON, colours, boxes."""

import importlib
import json
import subprocess
import sys

import pytest

from assay.cli import output
from assay.cli.__main__ import main
from assay.cli.commands import COMMANDS, build_parser
from assay.protocol.signatures import get_public_key
from tests.attacks.certificates import write_files
from tests.certificate.cases import AUDITOR, make_certificate, make_model_file


def test_help_lists_every_noun(capsys):
    """`assay`, `assay --help` and each noun's help exit with 0; the list is the table."""
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == shown
    for noun, command in COMMANDS.items():
        assert f"  {noun} " in shown
        assert main([noun, "--help"]) == 0
        assert command.summary[1:] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("noun", COMMANDS)
def test_each_noun_keeps_to_the_frame(noun):
    """A noun is a module with `configure` and `execute`; its help names it."""
    module = importlib.import_module(COMMANDS[noun].module)
    assert callable(module.configure)
    assert callable(module.execute)
    assert build_parser(noun).prog == f"assay {noun}"


@pytest.mark.parametrize("words", ["nope", "--nope", "trust", "trust nope", "key", "trust add x", "verify --js c"])
def test_wrong_usage_exits_with_two(words, capsys):
    """Unknown nouns, verbs, options and abbreviations: 2, and where help is."""
    assert main(words.split()) == 2
    assert "--help" in capsys.readouterr().err


def test_help_imports_no_library():
    """`assay --help` starts without the codec, cryptography and PyTorch."""
    program = "import sys; from assay.cli.__main__ import main; main(['--help']); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "argparse" in loaded
    assert not loaded & {"msgspec", "nacl", "blake3", "rfc8785", "numpy", "torch", "rich", "typer"}


def test_verify_imports_no_framework(tmp_path):
    """`assay verify` runs without PyTorch, NumPy and rich: a stranger needs the base install only."""
    words = ["verify", *write_files(tmp_path, make_certificate(), make_model_file())]
    program = f"import sys; from assay.cli.__main__ import main; print(main({words!r})); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *_, code, modules = done.stdout.splitlines()
    assert code == "3"
    assert not set(modules.split()) & {"numpy", "torch", "rich", "typer", "socket"}


def test_trust_and_key_from_the_command_line(home, capsys):
    """A key is made and shown, trusted, listed and removed; the seed is never printed."""
    assert main(["key", "new", "auditor"]) == 0
    assert main(["key", "show", "auditor"]) == 0
    key = capsys.readouterr().out.splitlines()[-1]
    assert len(bytes.fromhex(key)) == 32
    assert main(["trust", "add", "My auditor", key]) == 0
    assert main(["trust", "list", "--json"]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown.splitlines()[-1]) == {"keys": {"My auditor": key}, "anchors": {}}
    assert main(["trust", "remove", "My auditor"]) == 0
    assert main(["trust", "remove", "My auditor"]) == 2
    assert main(["key", "new", "auditor", "--json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"] == "key.exists"
    assert main(["key", "show", "--json"]) == 0
    seed = json.loads((home / "keys" / "auditor.json").read_text())["seed"]
    assert seed not in shown + capsys.readouterr().out


def test_a_stored_key_is_trusted_by_verify(home, tmp_path, capsys):
    """The level comes first, then who checked, then two boxes of one size."""
    words = write_files(tmp_path, make_certificate(), make_model_file())
    assert main(["verify", *words]) == 3
    assert main(["trust", "add", "office", get_public_key(AUDITOR).hex()]) == 0
    capsys.readouterr()
    assert main(["verify", *words]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "recomputed: 5 of 5 intervals · holds"
    tops, ends = ([n for n, line in enumerate(shown) if line.startswith(corner)] for corner in "┌└")
    assert [end - top for top, end in zip(tops, ends, strict=True)] == [ends[0] - tops[0]] * 2
    assert len({len(line) for line in shown[tops[0] :]}) == 1


def test_json_says_what_the_text_says(home, tmp_path, capsys):
    """`--json` prints one object: findings when it holds, code, expected, actual and next step when not."""
    certificate, model = write_files(tmp_path, make_certificate(), make_model_file())
    trust = ["--trust", get_public_key(AUDITOR).hex()]
    assert main(["verify", certificate, model, "--json", *trust]) == 0
    assert json.loads(capsys.readouterr().out)["findings"]["level"] == "recomputed"
    assert main(["verify", certificate, certificate, "--json", *trust]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["exit"], answer["error"]) == (1, "certificate.another-model")
    assert "sha256" in answer["expected"]


def test_colours_are_for_terminals_that_want_them(monkeypatch, capsys):
    """Bold on a terminal; plain text in a pipe, with NO_COLOR and on a dumb terminal."""
    output.print_strong("x")
    assert capsys.readouterr().out == "x\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.print_strong("x")
    assert capsys.readouterr().out == "\x1b[1mx\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_strong("x")
    assert capsys.readouterr().out == "x\n"


def test_an_unexpected_failure_has_the_shape_of_an_error(monkeypatch, capsys):
    """A bug is reported with its own code, as text and as JSON, and exits with 3."""
    import assay.storage.trust_store

    def fail():
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(assay.storage.trust_store, "read_trust", fail)
    assert main(["trust", "list", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"] == "unexpected"
    assert main(["trust", "list"]) == 3
    assert "unexpected failure: ZeroDivisionError: bug" in capsys.readouterr().err

"""The tutorial of the ledger does what it says: its commands are run in order in an empty folder."""

from tests.docs.test_tutorial import EXIT, PAGE, get_steps, run_line


def test_ledger_tutorial_runs_as_written(tmp_path):
    """Each command ends with the exit status that the page states, 0 where it states none; no node stays behind."""
    lines = 0
    try:
        for _, _, text in get_steps((PAGE.parent / "ledger.md").read_text(encoding="utf-8")):
            for line in text.splitlines():
                stated = EXIT.search(line)
                status, output = run_line(EXIT.sub("", line), tmp_path)
                assert status == (int(stated[1]) if stated else 0), f"{line}\n{output}"
                lines += 1
    finally:
        run_line("assay node stop --folder ledger", tmp_path)
    assert lines >= 15

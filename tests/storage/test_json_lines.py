import json

import pytest

from assay.storage.files import Files, NotWritable
from assay.storage.json_lines import JsonLines, LineDamaged, LineRefused


def make_lines(path, *, synced=True, **options):
    """Return the lines of a file on the real disk."""
    return JsonLines(Files(), path, synced=synced, **options)


def test_lines_come_back_in_order_and_other_tools_read_them(tmp_path):
    """What was appended in two sittings is read as one sequence; every line is plain JSON."""
    path = tmp_path / "x.jsonl"
    first = make_lines(path)
    assert list(first.iterate()) == []
    first.append({"b": 1.5, "a": "ä"})
    first.close()
    second = make_lines(path)
    second.append({"a": None, "c": [1, {"d": True}]})
    second.close()
    expected = [{"a": "ä", "b": 1.5}, {"a": None, "c": [1, {"d": True}]}]
    assert list(make_lines(path).iterate()) == expected
    assert [json.loads(line) for line in path.read_text().splitlines()] == expected


@pytest.mark.parametrize("synced", [True, False])
def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path, synced):
    """However the last line is cut, the lines before it stay, and the next one stands on a line of its own."""
    path = tmp_path / "x.jsonl"
    whole = b'{"a":1}\n{"a":2}\n'
    for size in range(len(b'{"a":3}')):
        path.write_bytes(whole + b'{"a":3}\n'[:size])
        lines = make_lines(path, synced=synced)
        assert list(lines.iterate()) == [{"a": 1}, {"a": 2}]
        lines.append({"a": 4})
        lines.close()
        assert path.read_bytes() == whole + b'{"a":4}\n'


@pytest.mark.parametrize("bad", [b"not json", b"[1]", b'{"a":1', b"\xff", b'{"a":NaN}', b"[" * 5000, b""])
def test_a_bad_line_before_others(tmp_path, bad):
    """Where every line was synced it is damage; elsewhere the file ends there."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a":1}\n' + bad + b'\n{"a":2}\n')
    with pytest.raises(LineDamaged) as caught:
        list(make_lines(path).iterate())
    assert "line 2" in caught.value.message
    assert caught.value.code == "storage.line-damaged"
    assert list(make_lines(path, synced=False).iterate()) == [{"a": 1}]


def test_what_is_not_json_is_refused(tmp_path):
    """Objects, endless nesting and huge lines are refused before anything is written."""
    path = tmp_path / "x.jsonl"
    endless: dict = {}
    endless["a"] = endless
    for values in ({"a": object()}, {"a": "x" * 2**20}, endless):
        with pytest.raises(LineRefused):
            make_lines(path).append(values)
    assert not path.exists()


def test_lines_can_be_thinned_at_once(tmp_path):
    """Only the wanted lines stay; appending goes on behind them."""
    lines = make_lines(tmp_path / "x.jsonl", synced=False)
    for step in range(6):
        lines.append({"step": step})
    lines.keep(lambda line: line["step"] <= 2)
    lines.append({"step": 9})
    lines.close()
    assert [line["step"] for line in lines.iterate()] == [0, 1, 2, 9]


def test_lines_for_reading_are_not_changed(tmp_path):
    """Appending and thinning are refused where the run was opened for reading."""
    lines = make_lines(tmp_path / "x.jsonl", writable=False)
    for action in (lambda: lines.append({}), lambda: lines.keep(bool)):
        with pytest.raises(NotWritable):
            action()

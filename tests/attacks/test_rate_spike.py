"""One step gets an enormous rate, on a batch that was chosen for it: everything is recomputed and matches."""

from tests.attacks.runs import audit, find_differing, read_predicate, record, verify

SAID = "Rate 0 was above 10 times its median at 1 steps."


def test_a_spike_of_one_step_is_counted(honest_audit, tmp_path):
    """The honest run has none; the other one says in numbers and in words that one step stands out."""
    assert read_predicate(honest_audit).scalars.rows[0].spike_steps == "0"
    assert SAID not in verify(honest_audit).not_proven
    record(tmp_path / "run", rate=lambda step: 1.0 if step == 7 else 0.01, epochs=2)
    found = audit(tmp_path / "run")
    assert find_differing(found) == []
    row = read_predicate(found).scalars.rows[0]
    assert (row.name, row.spike_steps, row.maximum) == ("rate 0", "1", "1.0")
    assert SAID in verify(found).not_proven


def test_many_small_spikes_stay_below_the_line(tmp_path):
    """A rate of nine times the median is not counted: the extremes are printed, and the reader judges."""
    record(tmp_path / "run", rate=lambda step: 0.09 if step % 4 == 0 else 0.01, epochs=1)
    row = read_predicate(audit(tmp_path / "run")).scalars.rows[0]
    assert (row.spike_steps, row.minimum, row.maximum) == ("0", "0.01", "0.09")

"""A backdoored or stolen model is the declared start, and "training" leaves it as it is, with a rate of 0 or nearly so.

Nothing is false in such a run: every step was carried out. The certificate says what it is.
"""

import pytest

from tests.attacks.runs import audit, find_differing, make_net, read_predicate, record, verify

MERELY_DECLARED = "The starting weights were merely declared."


def test_an_honest_start_is_recomputed(honest_audit):
    """The honest run's start was recomputed from the seed, and no rate stands out."""
    findings = verify(honest_audit)
    assert any("the starting weights were recomputed from the seed" in claim for claim in findings.proven)
    assert MERELY_DECLARED not in findings.not_proven
    assert not any(said.startswith("Rate ") for said in findings.not_proven)


@pytest.mark.parametrize(("rate", "said"), [(0.0, "Rate 0 was 0 at 10 steps."), (1e-12, None)])
def test_a_start_that_stays_as_it_is(rate, said, tmp_path):
    """Everything matches; the start is merely declared, and the rates are in the certificate and in words."""
    record(tmp_path / "run", net=make_net(), rate=rate, epochs=1)
    found = audit(tmp_path / "run")
    assert find_differing(found) == []
    findings = verify(found)
    assert MERELY_DECLARED in findings.not_proven
    assert not any("starting weights" in claim for claim in findings.proven)
    assert (said is None) != (said in findings.not_proven)
    summary = read_predicate(found).scalars.rows[0]
    assert (summary.name, float(summary.minimum), float(summary.maximum)) == ("rate 0", rate, rate)
    assert summary.zero_steps == ("10" if rate == 0 else "0")

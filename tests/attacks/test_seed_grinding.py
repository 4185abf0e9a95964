"""Many runs with many seeds are recorded, and the one that serves the submitter is shown."""

from tests.attacks.runs import audit, find_differing, read_predicate, record, verify


def test_the_chosen_seed_is_as_valid_as_any_and_the_certificate_says_who_chose_it(tmp_path):
    """Four seeds are tried and the best kept: it matches like an only one, with the origin of its seed in words."""
    losses = {}
    for seed in range(4):
        _, closing = record(tmp_path / str(seed), seed=seed, epochs=1)
        losses[closing.evaluations[0].metrics[0].value] = seed
    best = tmp_path / str(losses[max(losses)])
    found = audit(best)
    assert find_differing(found) == []
    claim = read_predicate(found).seed
    assert (claim.origin, claim.registrations) == ("submitter", "0")
    said = verify(found).not_proven
    assert "The seed was chosen by the submitter, who may have tried many." in said
    assert "That it was the first or only attempt." in said

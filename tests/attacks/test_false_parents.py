"""A run says that it started from a certified model, and shows a certificate that is not the one, or does not hold.

Whoever checks gives the parents' certificates; nothing that a child says of its parent is believed.
"""

import io
import json
from fractions import Fraction
from hashlib import sha256

import pytest

from assay.certificate.parents import GivenParent, verify_lineage
from assay.certificate.rejections import (
    AnotherParent,
    NoParentNamed,
    OwnKeyOnly,
    ParentContradicted,
    ParentRefuted,
    ParentUnproven,
    SignersUnknown,
)
from assay.certificate.statement import FindingClaim
from assay.certificate.wording import UNCHECKED_PARENT
from assay.cli.__main__ import main
from assay.errors import MalformedEvidence
from assay.protocol.evidence.model_state import PARAM
from assay.protocol.evidence.plan import CertifiedStart, DeclaredStart
from assay.protocol.signatures import get_public_key
from tests.attacks.certificates import run_verify
from tests.certificate.cases import (
    AUDITOR,
    RECORDER,
    STEP,
    STRANGER,
    TRUSTING,
    WEIGHTS,
    make_audit,
    make_certificate,
    make_model_file,
    make_plan,
    make_policy,
    make_run,
)

OTHER_WEIGHTS = {**WEIGHTS, "0/out.bias": (PARAM, "f32", (3,), bytes(12))}
CHILD_WEIGHTS = {**WEIGHTS, "1/up": (PARAM, "f32", (3,), bytes(12))}
FALSE = [FindingClaim(number, "all", "differs" if number == 3 else "matches") for number in range(5)]


def get_root(weights=WEIGHTS):
    """Return the model root of a run with these weights."""
    return make_run(weights=weights).closing.model_root


def make_child(parent, root=None, *, weights=CHILD_WEIGHTS, seeds=(AUDITOR,), findings=None):
    """Return the certificate of a run whose plan names a parent's certificate and a model root."""
    start = CertifiedStart(sha256(parent).digest(), get_root() if root is None else root)
    audit = make_audit(findings, start_recomputed=False)
    return make_certificate(make_run(make_plan(start=start, programs=(STEP,)), weights), audit, seeds)


def check(child, *parents, policy=TRUSTING):
    """Check a certificate with parents that are called p0, p1 and so on."""
    given = [GivenParent(f"p{number}", data) for number, data in enumerate(parents)]
    return verify_lineage(child, None, policy, given)


PARENT = make_certificate()
CHILD = make_child(PARENT)


def test_an_honest_parent_is_followed():
    """Both hold; the child says so, and no longer that its parent was not checked (CRT-38, CRT-39, CRT-41)."""
    found = check(CHILD, PARENT)
    assert found.error is None
    assert [(one.name, one.outcome, one.certificate) for one in found.parents] == [
        ("p0", "holds", sha256(PARENT).hexdigest())
    ]
    assert any("first model of the start is that of the parent p0" in said for said in found.findings.proven)
    assert UNCHECKED_PARENT not in found.findings.not_proven
    assert any(
        "the 1 tensors of further models (1/up, …) started: merely declared" in s for s in found.findings.not_proven
    )


def test_another_certificate_is_not_the_parent():
    """Another model's certificate, and another certificate about the very same model, are refuted (CRT-40)."""
    for stranger in (make_certificate(make_run(weights=OTHER_WEIGHTS)), make_certificate(seeds=(STRANGER,)), CHILD):
        found = check(CHILD, stranger)
        assert isinstance(found.error, AnotherParent)
        assert sha256(PARENT).hexdigest() in str(found.error)
        assert found.parents == []
        assert UNCHECKED_PARENT in found.findings.not_proven


def test_a_stranger_beside_the_parent_is_not_overlooked():
    """A certificate more than the chain has is named, not passed over (CRT-40)."""
    stranger = make_certificate(make_run(weights=OTHER_WEIGHTS))
    assert isinstance(check(CHILD, PARENT, stranger).error, NoParentNamed)
    unnamed = make_child(PARENT)
    assert isinstance(check(make_child(unnamed, get_root(CHILD_WEIGHTS)), unnamed, stranger).error, AnotherParent)


def test_a_parent_whose_model_is_another_one_is_refuted():
    """The right certificate beside a model root that it is not about: the plan lies about its start (CRT-39)."""
    found = check(make_child(PARENT, get_root(OTHER_WEIGHTS)), PARENT)
    assert isinstance(found.error, ParentContradicted)
    assert get_root().hex() in str(found.error)
    assert any("which is about another model" in said for said in found.findings.not_proven)
    assert not any("holds by itself" in said for said in found.findings.proven)


def test_a_refuted_parent_refutes():
    """The parent's auditor found an interval that differs: nobody may start from it (CRT-39, CRT-41)."""
    parent = make_certificate(audit=make_audit(FALSE))
    found = check(make_child(parent), parent)
    assert isinstance(found.error, ParentRefuted)
    assert [one.outcome for one in found.parents] == ["refuted"]
    assert any("which is refuted: an interval was recomputed and differs" in s for s in found.findings.not_proven)


@pytest.mark.parametrize("seed", [STRANGER, RECORDER])
def test_a_parent_of_an_unknown_signer_proves_nothing(seed):
    """The child holds; its parent was checked by a stranger, or by its own recorder: neither counts (CRT-38)."""
    parent = make_certificate(seeds=(seed,))
    found = check(make_child(parent), parent, policy=make_policy(AUDITOR, RECORDER))
    assert isinstance(found.error, ParentUnproven)
    assert [one.outcome for one in found.parents] == ["unproven"]
    assert any("of which nothing is proven here" in said for said in found.findings.not_proven)


def test_the_policy_holds_for_parents():
    """A parent of which one interval in five was recomputed does not pass where half is asked for (CRT-38)."""
    parent = make_certificate(audit=make_audit([FindingClaim(4, "uniform", "matches")]))
    child = make_child(parent)
    assert check(child, parent).error is None
    assert isinstance(
        check(child, parent, policy=make_policy(AUDITOR, minimal_share=Fraction(1, 2))).error, ParentUnproven
    )


def test_an_untrusted_child_refutes_nothing():
    """A stranger's false certificate names a true parent wrongly: unknown signers, exit 3 (CRT-27, CRT-40)."""
    for false, parent in (
        (make_child(PARENT, get_root(OTHER_WEIGHTS), seeds=(STRANGER,)), PARENT),
        (make_child(PARENT, seeds=(STRANGER,)), CHILD),
    ):
        assert isinstance(check(false, parent).error, SignersUnknown)


def test_what_is_false_of_the_child_comes_first():
    """A child is refuted beside an unproven parent, and an unproven child by a refuted parent (CRT-41)."""
    unknown = make_certificate(seeds=(STRANGER,))
    assert check(make_child(unknown, findings=FALSE), unknown).error.code == "certificate.interval-differs"
    refuted = make_certificate(audit=make_audit(FALSE))
    assert isinstance(
        check(make_child(refuted, seeds=(RECORDER,)), refuted, policy=make_policy(AUDITOR, RECORDER)).error,
        ParentRefuted,
    )
    own = make_child(PARENT, seeds=(RECORDER,))
    assert isinstance(check(own, PARENT, policy=make_policy(AUDITOR, RECORDER)).error, OwnKeyOnly)


def test_a_chain_of_three():
    """Grandparent, parent, child in any order; a link that is left out, and one that is refuted (CRT-38 to CRT-41)."""
    middle = make_child(PARENT)
    last = make_child(middle, get_root(CHILD_WEIGHTS))
    for order in ((middle, PARENT), (PARENT, middle)):
        found = check(last, *order)
        assert found.error is None
        assert [one.certificate for one in found.parents] == [sha256(one).hexdigest() for one in (middle, PARENT)]
        assert UNCHECKED_PARENT not in found.parents[0].findings.not_proven
    short = check(last, middle)
    assert short.error is None
    assert UNCHECKED_PARENT in short.parents[0].findings.not_proven
    assert isinstance(check(last, PARENT).error, AnotherParent)
    refuted = make_certificate(audit=make_audit(FALSE))
    middle = make_child(refuted)
    found = check(make_child(middle, get_root(CHILD_WEIGHTS)), middle, refuted)
    assert isinstance(found.error, ParentRefuted)
    assert [one.outcome for one in found.parents] == ["holds", "refuted"]


def test_a_circle_cannot_be_closed():
    """A run of rate 0 ends as it started; shown as its own parent, alone or by way of another, it is none (CRT-40)."""
    one = make_child(PARENT, weights=WEIGHTS)
    other = make_child(one, weights=WEIGHTS)
    assert get_root() == make_run(weights=WEIGHTS).closing.model_root
    assert isinstance(check(one, one).error, AnotherParent)
    assert isinstance(check(one, other).error, AnotherParent)
    assert isinstance(check(other, one, other).error, AnotherParent)
    assert check(other, one, one).error is None


@pytest.mark.parametrize("cut", [0, 1, 4000, -1])
def test_a_damaged_parent_refutes_nothing(cut):
    """A file that was cut off is no certificate, whoever signed the child (CRT-26, CRT-40)."""
    found = check(CHILD, PARENT[:cut])
    assert isinstance(found.error, ParentUnproven)
    assert "is no certificate" in str(found.error)
    with pytest.raises(MalformedEvidence):
        check(CHILD[:cut], PARENT)


def test_what_names_no_parent_has_none():
    """A parent for a run from scratch, or from declared weights, is a wrong question (CRT-40)."""
    declared = make_run(make_plan(start=DeclaredStart(make_run().first_leaf.start_root), programs=(STEP,)))
    for child in (PARENT, make_certificate(declared, make_audit(start_recomputed=False))):
        assert isinstance(check(child, PARENT).error, NoParentNamed)


def test_the_model_file_is_still_that_of_the_child():
    """The parent's file beside the child's certificate is another model, whatever parents are given (CRT-24)."""
    given = [GivenParent("p0", PARENT)]
    found = verify_lineage(CHILD, io.BytesIO(make_model_file(CHILD_WEIGHTS)), TRUSTING, given)
    assert found.error is None
    with pytest.raises(Exception, match="not the certified model file"):
        verify_lineage(CHILD, io.BytesIO(make_model_file()), TRUSTING, given)


STORIES = {
    "honest": (CHILD, PARENT, 0, None),
    "another": (CHILD, CHILD, 1, "certificate.another-parent"),
    "contradicted": (make_child(PARENT, get_root(OTHER_WEIGHTS)), PARENT, 1, "certificate.parent-contradicted"),
    "none named": (PARENT, CHILD, 2, "certificate.no-parent"),
    "damaged": (CHILD, PARENT[:-1], 3, "certificate.parent-unproven"),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_the_command_says_so(story, tmp_path, capsys, home):
    """`assay verify --parent`: exit code, error, both certificates in text and in JSON (CRT-41)."""
    child, parent, code, error = story
    path = tmp_path / "parent.assay.json"
    path.write_bytes(parent)
    model = make_model_file(WEIGHTS if child is PARENT else CHILD_WEIGHTS)
    words = ["--parent", str(path)]
    assert run_verify(tmp_path, child, model, *words, trusted=[AUDITOR]) == code
    shown = capsys.readouterr()
    assert ("parent parent.assay.json, SHA-256" in shown.out) == (error not in {
        "certificate.another-parent", "certificate.no-parent", "certificate.parent-unproven"
    })  # fmt: skip
    assert run_verify(tmp_path, child, model, *words, "--json", trusted=[AUDITOR]) == code
    found = json.loads(capsys.readouterr().out)
    assert (found["exit"], found.get("error")) == (code, error)
    if code == 0:
        assert [(one["name"], one["outcome"]) for one in found["parents"]] == [("parent.assay.json", "holds")]
    else:
        assert found["expected"]
        assert found["nextStep"]


def test_a_missing_parent_is_no_finding(tmp_path, capsys, home):
    """A file that is not there: exit 3, and the child is not said to hold."""
    (tmp_path / "child").write_bytes(CHILD)
    words = [
        "verify",
        str(tmp_path / "child"),
        "--parent",
        str(tmp_path / "gone"),
        "--trust",
        get_public_key(AUDITOR).hex(),
    ]
    assert main(words) == 3
    shown = capsys.readouterr()
    assert "gone is missing" in shown.err
    assert shown.out == ""

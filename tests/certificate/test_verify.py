"""Verification: what holds, and every claim that is derived again."""

import io
from fractions import Fraction

import msgspec
import pytest

from assay.certificate import rejections
from assay.certificate.dsse import decode_base64, encode_base64, encode_json, open_envelope
from assay.certificate.policy import TrustPolicy
from assay.certificate.statement import PREDICATE_FAMILY, FindingClaim
from assay.certificate.verify import verify_certificate
from assay.errors import MalformedEvidence, Refuted, Unproven
from assay.protocol.encoding import encode, float_to_bits
from assay.protocol.evidence.edits import compute_edit_id
from assay.protocol.evidence.events import Event
from assay.protocol.evidence.plan import CertifiedStart, DeclaredStart, Metric
from assay.protocol.hashing import ZERO
from assay.protocol.signatures import get_public_key
from tests.certificate.cases import (
    ANY_SHARE,
    AUDITOR,
    EDIT,
    RECORDER,
    STRANGER,
    TRUSTING,
    WEIGHTS,
    change_closing,
    digest,
    make_audit,
    make_certificate,
    make_model_file,
    make_plan,
    make_policy,
    make_run,
    resign,
    rewrite,
)


def verify(data, policy=TRUSTING, model=None):
    """Verify bytes against bytes."""
    return verify_certificate(data, None if model is None else io.BytesIO(model), policy)


def test_an_honest_certificate_holds():
    """All steps hold: the findings state level, numbers, signer and file (CRT-30)."""
    findings = verify(make_certificate(), model=make_model_file())
    assert (findings.level, findings.intervals, findings.sampled, findings.recomputed) == ("recomputed", 5, 5, 5)
    assert (findings.miss_one, findings.caught95) == ("0/1", "1")
    assert findings.file.name == "model.safetensors"
    assert [signer.name for signer in findings.signers] == ["key 0"]
    assert any("5 of 5 intervals were recomputed" in said for said in findings.proven)
    assert any("chosen by the submitter" in said for said in findings.not_proven)


def test_without_a_model_nothing_is_said_about_a_file():
    """A certificate may be checked alone, and says so."""
    findings = verify(make_certificate())
    assert findings.file is None
    assert "No model file was given: nothing is proven about any file." in findings.not_proven


def test_a_sample_states_its_chances():
    """Three of five, the last among them: one false interval is missed with 1/2, counted by hand (CRT-18)."""
    audit = make_audit([FindingClaim(number, "uniform", "matches") for number in (0, 2, 4)])
    findings = verify(make_certificate(audit=audit))
    assert (findings.sampled, findings.miss_one, findings.miss_one_rounded, findings.caught95) == (
        3,
        "1/2",
        "0.500000",
        "3",
    )
    assert any("2 of 5 intervals were not recomputed" in said for said in findings.not_proven)


def test_several_checkers_sign_one_statement():
    """Two auditors: both must sign, one trusted is enough."""
    data = make_certificate(seeds=(AUDITOR, STRANGER))
    findings = verify(data)
    assert sorted(signer.name for signer in findings.signers) == ["", "key 0"]


def test_declared_and_certified_starts_are_named():
    """A start that is not a program is not proven, in words (CRT-14)."""
    root = make_run().first_leaf.start_root
    for start, words in (
        (DeclaredStart(root), "merely declared"),
        (CertifiedStart(digest("parent"), digest("root")), "parent certificate"),
    ):
        run = make_run(make_plan(start=start))
        findings = verify(make_certificate(run, make_audit(start_recomputed=False)))
        assert any(words in said for said in findings.not_proven)


def change_predicate(path, value):
    """Return a change of one member of the predicate."""

    def change(values):
        place = values["predicate"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value

    return change


def flip_hex(text):
    """Return hex text with its first digit changed."""
    return ("1" if text[0] != "1" else "2") + text[1:]


def flip_base64(text):
    """Return base64 text with the last bit of its bytes changed."""
    data = bytearray(decode_base64(text))
    data[-1] ^= 1
    return encode_base64(bytes(data))


EVENT = encode_base64(encode(Event(0, 1, "edit", "", ZERO)))
INVENTED = {"step": "1", "kind": "edit", "reason": "", "bytes": EVENT, "edit": "none", "tensors": "0", "norm": "none"}

CONTRADICTIONS = {
    "plan id": (["plan", "id"], flip_hex),
    "closing id": (["closing", "id"], flip_hex),
    "profile id": (["profile", "id"], flip_hex),
    "readable plan": (["plan", "readable", "batch_size"], "16"),
    "readable plan with a member more": (["plan", "readable"], lambda value: {**value, "audited": "yes"}),
    "readable closing record": (["closing", "readable", "steps"], "21"),
    "readable profile": (["profile", "readable", "settings", 0, "value"], "2"),
    "recorder's signature": (["recorder", "signature"], flip_base64),
    "recorder's key": (["recorder", "key"], digest("other").hex()),
    "start root": (["start", "root"], flip_hex),
    "start kind": (["start", "kind"], "certified"),
    "seed origin": (["seed", "origin"], "beacon:1"),
    "registrations": (["seed", "registrations"], "1"),
    "transcript root": (["roots", "transcript"], flip_hex),
    "final state": (["roots", "finalState"], flip_hex),
    "rest root": (["roots", "rest"], flip_hex),
    "path of the first leaf": (["roots", "firstLeaf", "path", 0], flip_hex),
    "path of the last leaf": (["roots", "lastLeaf", "path", 0], flip_hex),
    "first step of a program": (["programs", 1, "firstStep"], "2"),
    "program id": (["programs", 1, "id"], flip_hex),
    "a program left out": (["programs"], lambda value: value[:1]),
    "N": (["intervals"], 4),
    "s": (["sampled"], 4),
    "level too low": (["level"], "replayable"),
    "chance": (["chances", "missOne", "fraction"], "1/2"),
    "rounded chance": (["chances", "missOne", "rounded"], "0.000001"),
    "smallest number caught": (["chances", "caught95"], "2"),
    "formula": (["chances", "formula"], 7),
    "finding left out": (["findings", "listed"], lambda value: value[:-1]),
    "metric": (["evaluations", 0, "metrics", 0, "value"], "0.985"),
    "test set": (["evaluations", 0, "dataRoot"], flip_hex),
    "evaluation left out": (["evaluations"], []),
    "profile of a checker": (["checkers", 0, "profile"], flip_hex),
    "replays": (["checkers", 0, "replays"], 0),
    "more rows that differ than steps": (["scalars", "differing"], "21"),
    "more steps that stand out than steps": (["scalars", "rows", 0, "spikeSteps"], "21"),
    "invented event": (["events"], [INVENTED]),
}


@pytest.mark.parametrize("case", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_contradicts_its_own_evidence_is_refuted(case):
    """A trusted key signs a claim that its own evidence contradicts: refuted (CRT-10 to CRT-23)."""
    changed = rewrite(make_certificate(), change_predicate(*case))
    with pytest.raises(Refuted):
        verify(changed)


@pytest.mark.parametrize("case", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_the_same_by_a_stranger_refutes_nothing(case):
    """The same contradiction under an unknown signature is never a refutation (CRT-27)."""
    changed = rewrite(make_certificate(seeds=(AUDITOR,)), change_predicate(*case))
    with pytest.raises(rejections.SignersUnknown):
        verify(changed, make_policy(STRANGER))


MALFORMED = {
    "another leaf": (["roots", "lastLeaf", "leaf"], "AA=="),
    "path too short": (["roots", "lastLeaf", "path"], []),
    "path too long": (["roots", "firstLeaf", "path"], lambda value: [*value, value[0]]),
    "finding outside": (["findings", "listed", 4, "interval"], 5),
    "negative interval": (["findings", "listed", 0, "interval"], -1),
    "finding twice": (["findings", "listed"], lambda value: [value[0], *value]),
    "unknown kind": (["findings", "listed", 0, "kind"], "random"),
    "a tree below its limit": (["findings", "tree"], {"size": 5, "root": "00" * 32}),
    "template": (["template"], "some"),
    "file size": (["model", "files", 0, "size"], "0318"),
    "file name": (["model", "files", 0, "name"], "a\x1b[2Jb"),
    "names not sorted": (["model", "parameters"], lambda value: value[::-1]),
    "one tensor in both places": (["model", "buffers"], lambda value: ["0/embed.weight", *value]),
    "alias to nowhere": (["model", "aliases", 0, "target"], "0/x"),
    "plan bytes": (["plan", "bytes"], "AA=="),
    "overlap": (["evaluations", 0, "overlap"], "-1"),
    "rows that differ": (["scalars", "differing"], "differs"),
    "a count with a sign": (["scalars", "rows", 0, "zeroSteps"], "+1"),
    "least value that is no real": (["scalars", "rows", 0, "minimum"], "none"),
    "greatest value in a longer form": (["scalars", "rows", 0, "maximum"], "0.10"),
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED)
def test_what_has_no_form_is_malformed(case):
    """What cannot be read is malformed, whoever signed it: never a refutation (CRT-7, CRT-9, CRT-26)."""
    changed = rewrite(make_certificate(), change_predicate(*case))
    with pytest.raises(MalformedEvidence):
        verify(changed)


def test_newer_formats_are_named():
    """A later version of the predicate is not malformed, and not proven (CRT-6)."""
    data = rewrite(make_certificate(), lambda values: values.update(predicateType=f"{PREDICATE_FAMILY}1", more={}))
    with pytest.raises(rejections.NewerFormat):
        verify(data)
    with pytest.raises(rejections.NewerFormat):
        verify(rewrite(make_certificate(), change_predicate(["plan", "readable", "version"], "1")))


@pytest.mark.parametrize(
    "kind",
    [
        "https://slsa.dev/provenance/v1",
        PREDICATE_FAMILY,
        PREDICATE_FAMILY + "00",
        PREDICATE_FAMILY + "-1",
        PREDICATE_FAMILY + "9" * 5000,
    ],
)
def test_other_statements_are_malformed(kind):
    """Another predicate, or a version in another form, is no training certificate (CRT-6)."""
    with pytest.raises((MalformedEvidence, Unproven)):
        verify(rewrite(make_certificate(), lambda values: values.update(predicateType=kind)))


def test_the_order_of_the_tests_of_trust():
    """Unknown, then differing, then own key only, then policy (CRT-27 to CRT-29)."""
    differs = make_audit([FindingClaim(n, "all", "differs" if n == 3 else "matches") for n in range(5)])
    with pytest.raises(rejections.IntervalDiffers) as caught:
        verify(make_certificate(audit=differs))
    assert caught.value.findings.differing == [3]
    with pytest.raises(rejections.SignersUnknown) as caught:
        verify(make_certificate(audit=differs), make_policy(STRANGER))
    assert caught.value.findings.differing == [3]
    with pytest.raises(rejections.OwnKeyOnly):
        verify(make_certificate(seeds=(RECORDER,)), make_policy(RECORDER))


def test_an_interval_that_nobody_could_judge_is_not_a_match():
    """Inconclusive is neither a refutation nor enough (CRT-29)."""
    audit = make_audit([FindingClaim(n, "all", "inconclusive" if n == 1 else "matches") for n in range(5)])
    with pytest.raises(rejections.PolicyNotMet):
        verify(make_certificate(audit=audit))


def test_levels_below_the_policy_are_not_met():
    """A replayable run holds only where the reader asks for no more (CRT-29)."""
    data = make_certificate(audit=make_audit([], start_recomputed=False))
    with pytest.raises(rejections.PolicyNotMet):
        verify(data)
    policy = make_policy(AUDITOR, minimal_level="replayable", minimal_share=Fraction(0))
    assert verify(data, policy).level == "replayable"


def test_flagged_intervals_never_enter_the_share():
    """Flagged and private intervals are listed, and count neither for s nor for the chances (CRT-16)."""
    findings = [FindingClaim(n, "flagged" if n % 2 else "private", "matches") for n in range(5)]
    data = make_certificate(audit=make_audit(findings))
    with pytest.raises(rejections.PolicyNotMet):
        verify(data)
    found = verify(data, ANY_SHARE)
    assert (found.level, found.recomputed, found.sampled, found.miss_one, found.caught95) == (
        "recomputed",
        5,
        0,
        "1/1",
        "none",
    )


def test_more_findings_than_can_be_listed():
    """Beyond 4,096 findings a tree and those that differ are carried (CRT-17)."""
    run = make_run(make_plan(intended_steps=5000, interval_length=1))
    audit = make_audit([FindingClaim(n, "all", "matches") for n in range(5000)])
    data = make_certificate(run, audit)
    findings = verify(data)
    assert (findings.recomputed, findings.sampled, findings.miss_one) == (5000, 5000, "0/1")
    assert len(data) < 20_000
    with pytest.raises(MalformedEvidence):
        verify(rewrite(data, change_predicate(["findings", "tree", "size"], 5001)))


def test_another_model_is_refuted():
    """Size, SHA-256 or root of the file differ: an explicit finding (CRT-24)."""
    data, model = make_certificate(), make_model_file()
    for other in (model + b"x", model[:-1], b"", model[:-1] + bytes([model[-1] ^ 1])):
        with pytest.raises(rejections.AnotherModel):
            verify(data, model=other)


def test_a_certificate_without_files_is_checked_by_root():
    """No file was exported: the model root alone decides (CRT-24)."""
    run = msgspec.structs.replace(make_run(), files=[])
    data = make_certificate(run)
    assert verify(data, model=make_model_file()).file.name == "model"
    weights = {**WEIGHTS, "0/out.bias": (*WEIGHTS["0/out.bias"][:3], bytes(12))}
    with pytest.raises(rejections.AnotherModel):
        verify(data, model=make_model_file(weights))
    with pytest.raises(MalformedEvidence):
        verify(data, model=b"not a model")


def test_a_listed_file_that_is_not_the_model_is_a_contradiction():
    """The signer lists a file whose tensors give another root: the certificate contradicts itself (CRT-24)."""
    other = make_model_file({**WEIGHTS, "0/out.bias": (*WEIGHTS["0/out.bias"][:3], bytes(12))})
    run = make_run(weights=WEIGHTS)
    file = make_run(weights={**WEIGHTS, "0/out.bias": (*WEIGHTS["0/out.bias"][:3], bytes(12))}).files
    data = make_certificate(msgspec.structs.replace(run, files=file))
    with pytest.raises(rejections.ClaimContradicted):
        verify(data, model=other)


def test_reading_ends_after_the_certified_size():
    """An endless stream is refuted after as many bytes as the file has, and one."""

    class Endless:
        count = 0

        def read(self, count):
            self.count += count
            return bytes(count)

    stream = Endless()
    with pytest.raises(rejections.AnotherModel):
        verify_certificate(make_certificate(), stream, TRUSTING)
    assert stream.count == len(make_model_file()) + 1


def test_events_follow_from_the_closing_record():
    """Declared events give the root that the closing record names; another reason or norm is refused (CRT-22)."""
    edit = Event(0, 3, "edit", "fix a layer", compute_edit_id(EDIT))
    events = (edit, Event(0, 20, "early-stop", "loss rose", ZERO))
    data = make_certificate(make_run(events=events))
    said = verify(data).not_proven
    assert any("2 declared events" in sentence for sentence in said)
    assert "Why the state was edited after step 3 (fix a layer): 1 tensors, norm of the change 0.25." in said
    smaller = msgspec.structs.replace(EDIT, norm=float_to_bits(0.01))
    for path, value in (
        (["events", 0, "reason"], "nothing happened"),
        (["events", 0, "norm"], "0.01"),
        (["events", 0, "tensors"], "0"),
        (["events", 0, "edit"], "none"),
        (["events", 0, "edit"], encode_base64(encode(smaller))),
        (["events"], lambda value: value[:1]),
    ):
        with pytest.raises(Refuted):
            verify(rewrite(data, change_predicate(path, value)))
    for hostile in (events[::-1], (Event(0, 21, "metric", "", ZERO),), (Event(0, 1, "magic", "", ZERO),)):
        with pytest.raises(MalformedEvidence):
            verify(make_certificate(make_run(events=hostile)))
    with pytest.raises(Refuted):
        verify(make_certificate(make_run(events=(Event(0, 3, "edit", "without tensors", ZERO),))))


def test_statement_is_canonical():
    """The payload is RFC 8785, and a payload in another form is refused although it is signed (CRT-5)."""
    payload, _ = open_envelope(make_certificate())
    values = msgspec.json.decode(payload)
    assert encode_json(values) == payload
    for other in (payload + b" ", payload.replace(b'":', b'": ', 1), b" " + payload, msgspec.json.encode(values)[:-1]):
        with pytest.raises(MalformedEvidence):
            verify(resign(other))


def test_last_leaf_holds_the_final_state():
    """A last leaf without a state root does not prove the end."""
    run = make_run()
    with pytest.raises(Refuted):
        verify(
            make_certificate(
                msgspec.structs.replace(run, last_leaf=msgspec.structs.replace(run.last_leaf, state_root=ZERO))
            )
        )


def test_a_sentence_names_few_metrics():
    """Of thousands of metrics a sentence names eight; the certificate holds them all (CRT-31)."""
    run = make_run()
    metrics = tuple(Metric(f"recall/{number:05}", 0, 1) for number in range(3000))
    evaluation = msgspec.structs.replace(run.closing.evaluations[0], metrics=metrics)
    findings = verify(make_certificate(change_closing(run, evaluations=(evaluation,))))
    assert any("recall/00007 0.0 and 2992 more" in said for said in findings.proven)


def test_a_trusted_key_without_a_name_is_trusted():
    """An empty name in a policy is not the same as no trust."""
    policy = TrustPolicy({get_public_key(AUDITOR): ""})
    assert verify(make_certificate(), policy).signers[0].name == get_public_key(AUDITOR).hex()[:8]

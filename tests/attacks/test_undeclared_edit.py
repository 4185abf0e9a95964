"""Someone plants weights between two steps: undeclared it is refused, declared it is shown to whoever reads.

The forger tries all ways: editing outside a block, striking the event from the list, claiming a smaller norm, storing
other tensors. What remains is to declare it, and then sentence, certificate and report say so with its norm.
"""

import msgspec
import pytest
import torch

from assay.protocol.encoding import decode, encode, float_to_bits
from assay.protocol.evidence.edits import compute_edit_id
from assay.protocol.evidence.events import commit_events
from assay.report.contents import gather
from assay.report.page import render_page
from assay.training.events import EventList
from assay.training.pytorch.home import StateChanged
from assay.training.recorded import RecordedRun, RunContradicts
from assay.verification.structure import verify_structure
from tests.attacks import runs

REASON = "plant a trigger"


def plant(net):
    """Change weights so that much of what was learned is another thing."""
    with torch.no_grad():
        net[0].weight.add_(0.75)


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    """A run in which the weights were edited after step 17, in a declared event."""
    path = tmp_path_factory.mktemp("edited") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("home")))
        runs.record(path, between=edit_before_18)
    return path


def edit_before_18(run, net, step):
    """Edit, as a declared event."""
    if step == 18:
        with run.edit(REASON):
            plant(net)


def test_a_declared_edit_is_shown(declared):
    """The audit applies it and all matches; certificate and report name step, reason and norm, as not proven."""
    found = runs.audit(declared)
    assert runs.find_differing(found) == []
    (event,) = runs.read_predicate(found).events
    assert (event.step, event.kind, event.reason, event.tensors) == ("17", "edit", REASON, "1")
    assert float(event.norm) == pytest.approx(0.75 * 32**0.5, rel=1e-5)
    said = runs.verify(found).not_proven
    sentence = f"Why the state was edited after step 17 ({REASON}): 1 tensors, norm of the change 4.24264."
    assert sentence in said
    (declared / "audit" / "x.assay.json").write_bytes(runs.make_certificate(found))
    report = gather(declared, None, runs.TRUSTING)
    assert sentence in report.not_proven
    assert REASON in render_page(report)


def test_an_undeclared_edit_is_refused_while_recording(tmp_path):
    """Outside a block the next step names the tensor."""

    def each(net, optimizer, step):
        if step == 18:
            plant(net)

    with pytest.raises(StateChanged) as refused:
        runs.record(tmp_path / "run", each=each)
    assert refused.value.code == "state.changed-outside"
    assert "0/0.weight" in refused.value.message


def rewrite_events(path, change):
    """Replace the list of events by what `change` makes of the one event, and sign the closing record again."""
    events = decode((path / "events.bin").read_bytes(), EventList).events
    stored = change(events[0])
    (path / "events.bin").write_bytes(encode(EventList(0, stored)))
    return runs.rewrite_closing(path, events=commit_events([one.event for one in stored]))


def test_an_event_cannot_be_struck(declared, tmp_path):
    """Without its event the rows of the run name a digest of nothing that is there (TRN-9)."""
    forged = runs.copy_run(declared, tmp_path / "forged")
    rewrite_events(forged, lambda event: ())
    with pytest.raises(RunContradicts) as refused:
        verify_structure(forged)
    assert "before step 18" in refused.value.message


def test_a_smaller_norm_is_found_by_replay(declared, tmp_path):
    """A chain that fits together over a false norm holds as a structure; whoever replays the interval sees it."""
    (event,) = RecordedRun(declared).events
    edit = msgspec.structs.replace(event.edit, norm=float_to_bits(0.01))
    told = msgspec.structs.replace(event.event, tensors=compute_edit_id(edit))
    shrunk = msgspec.structs.replace(event, event=told, edit=edit)
    forged = runs.relink(declared, tmp_path / "forged", lambda step, result: result, events=[shrunk])
    verify_structure(forged)
    found = runs.audit(forged)
    assert runs.find_differing(found) == [4]
    answer = found.answers["interval", 4]
    assert (answer.step, answer.parts) == (18, ("events",))


def test_other_tensors_than_named_are_refused(declared, tmp_path):
    """Bytes that are not those of the edit are damaged blobs, whoever put them there."""
    forged = runs.copy_run(declared, tmp_path / "forged")
    (blob,) = (forged / "blobs").iterdir()
    data = bytearray(blob.read_bytes())
    data[0] ^= 1
    blob.write_bytes(bytes(data))
    found = runs.audit(forged)
    assert [(answer.kind, answer.index) for answer in found.failed] == [("interval", 4)]

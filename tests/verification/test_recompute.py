"""Recomputing an interval for a vote: the same for everybody who computes, whatever the run claims."""

import itertools

import msgspec
import pytest
import torch

from assay.errors import UsageError
from assay.protocol.evidence.plan_rules import verify_closing_record
from assay.protocol.evidence.program import INFERENCE, STEP
from assay.protocol.evidence.votes import compute_work_key
from assay.protocol.evidence.work import ACTIVATIONS, GRADIENTS, choose_values
from assay.protocol.hashing import ZERO, compute_bulk_digest, compute_digest
from assay.protocol.tags import WORK_KEY
from assay.training.profile_environment import environment_for
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.executor import Executor
from assay.training.pytorch.home import get_bytes
from assay.training.pytorch.interpreter import interpret
from assay.training.recompute import Recomputer
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer
from assay.training.work_digest import WorkHasher
from assay.verification.forgery import forge, interpolate, only_in
from assay.verification.pool import Pool
from assay.verification.tasks import Task, VoteRoots
from tests.verification import runs

KEY = compute_work_key(bytes(32), bytes([1]) * 32)


def open_recomputer(path):
    """Return what recomputes the intervals of a run."""
    run = RecordedRun(path)
    hasher = WorkHasher()
    return Recomputer(Replayer(run, TorchBackend(run.start.aliases, hasher)), hasher)


def read_step_programs(path):
    """Return the step programs of a run."""
    run = RecordedRun(path)
    programs = [run.read_program(use.program) for use in run.uses]
    return [program for program in programs if program.kind == STEP]


def shift(label):
    """Return an alteration that changes the labels of a batch."""
    return lambda _, arrays: [arrays[0], (arrays[1] + label) % 3]


class Kept:
    """An observer that keeps what it sees."""

    def __init__(self):
        self.seen = {}

    def choose(self, program):
        """Watch what a work digest takes."""
        return choose_values(program)

    def observe(self, number, data):
        """Keep a copy."""
        self.seen[number] = bytes(data)


def test_honest_intervals_match(honest):
    """WRK-5: on an honest run everything computed is what is claimed, and roots chain from interval to interval."""
    recomputer = open_recomputer(honest)
    found = [recomputer.recompute(index, KEY) for index in range(runs.INTERVALS)]
    assert all(computed.matches for computed in found)
    for before, after in itertools.pairwise(found):
        assert before.end_root == after.start_root
    assert found[-1].end_root == recomputer.run.closing.final_state
    assert {computed.leaves.size for computed in found} == {runs.LENGTH}
    assert recomputer.check_start(KEY).end_root == recomputer.run.start.state_root
    assert recomputer.check_metrics(KEY).matches
    assert recomputer.answer(runs.INTERVALS, KEY) == recomputer.check_start(KEY)
    assert recomputer.answer(runs.INTERVALS + 1, KEY) == recomputer.check_metrics(KEY)
    with pytest.raises(UsageError):
        recomputer.answer(runs.INTERVALS + 2, KEY)
    assert recomputer.measure() == recomputer.run.closing.evaluations


def test_two_machines_agree_and_two_accounts_do_not(honest):
    """WRK-1, WRK-4: the digest is that of key and computation, so a copied one is of no use to another account."""
    first, second = open_recomputer(honest), open_recomputer(honest)
    other = compute_work_key(bytes(32), bytes([2]) * 32)
    assert first.recompute(2, KEY) == second.recompute(2, KEY)
    assert first.recompute(2, KEY).work_digest != first.recompute(2, other).work_digest
    assert first.recompute(2, KEY).work_digest != first.recompute(3, KEY).work_digest
    assert compute_work_key(bytes(32), bytes([1]) * 32) == compute_digest(WORK_KEY, bytes(32) + bytes([1]) * 32)


def test_observing_changes_no_bit(honest):
    """The digest is taken of a computation that is the same with and without it; executor and interpreter agree."""
    for program in read_step_programs(honest):
        generator = torch.Generator().manual_seed(5)
        state = [make_input(entry.type, generator) for entry in program.state]
        batch = [make_input(entry, generator) for entry in program.batch]
        row, key = [0.25] * program.scalars, (1, 2)
        naive, fast = Kept(), Kept()
        changed, results = interpret(program, state, batch, row, key, naive)
        plain = interpret(program, state, batch, row, key)
        assert [get_bytes(t.contiguous()).tobytes() for t in changed + results] == [
            get_bytes(t.contiguous()).tobytes() for t in plain[0] + plain[1]
        ]
        assert set(naive.seen) == set(choose_values(program)) != set()
        names = {(entry.namespace, entry.name) for entry in program.state}
        if all((output.namespace, output.name) in names for output in program.state_outputs):
            Executor(program, [tensor.clone() for tensor in state], batch, fast).run(batch, row, key)
            assert fast.seen == naive.seen


def make_input(kind, generator):
    """Return a tensor of a type."""
    if kind.dtype == "f32":
        return torch.rand(kind.shape, generator=generator)
    return torch.zeros(kind.shape, dtype={"i64": torch.int64, "bool": torch.bool}[kind.dtype])


def test_chosen_values_are_few_and_not_in_the_transcript(honest):
    """WRK-2, WRK-3: values are chosen by the program alone; results and states are not among them."""
    for program in read_step_programs(honest):
        chosen = choose_values(program)
        assert chosen == choose_values(program)
        assert 0 < len(chosen) <= GRADIENTS + ACTIVATIONS
        assert not set(chosen) & {*program.results, *(output.value for output in program.state_outputs)}
        assert not choose_values(msgspec.structs.replace(program, kind=INFERENCE))


@pytest.fixture(scope="module")
def forged(honest, tmp_path_factory):
    """A run whose interval 5 was trained on other labels than it claims."""
    path = tmp_path_factory.mktemp("forged") / "run"
    run = RecordedRun(honest)
    first, last = run.get_interval(5)
    forge(honest, path, TorchBackend(run.start.aliases), alter=only_in(first, last, shift(1)))
    return path


def test_a_false_interval_gives_everybody_the_same_other_root(forged):
    """WRK-5, WRK-6: honest verifiers of a lie agree on what is right, to the last leaf, or they could not reject it."""
    found = [open_recomputer(forged).recompute(5, KEY) for _ in range(2)]
    assert found[0] == found[1]
    assert not found[0].matches
    assert found[0].step == 5 * runs.LENGTH + 1
    claimed = RecordedRun(forged).get_claimed_root(6 * runs.LENGTH)
    assert found[0].end_root not in {claimed, ZERO}
    assert open_recomputer(forged).recompute(6, KEY).matches  # it starts from the claimed state and is honest itself


def test_interpolation_is_told(honest, tmp_path):
    """Checkpoints that were moved without training give other roots."""
    run = RecordedRun(honest)
    first, last = run.get_interval(3)
    skipped = frozenset(range(first + 1, last + 1))
    path = tmp_path / "forged"
    forge(honest, path, TorchBackend(run.start.aliases), edit=interpolate(first, last, 1.01), skip=skipped)
    recomputer = open_recomputer(path)
    assert [recomputer.recompute(i, KEY).matches for i in (2, 3, 4)] == [True, False, True]


def test_a_lie_before_a_thinned_interval_is_told(honest, forged, tmp_path):
    """WRK-5: where the state at the start is not stored, the way there is recomputed too, and a lie on it is a lie."""
    path = runs.copy(forged, tmp_path / "copy")
    for step in range(5 * runs.LENGTH + 1, 8 * runs.LENGTH):
        (path / "checkpoints" / f"{step}.bin").unlink(missing_ok=True)
    computed = open_recomputer(path).recompute(6, KEY)
    assert not computed.matches
    assert computed.step == 5 * runs.LENGTH + 1
    assert computed == open_recomputer(path).recompute(6, KEY)


def test_other_metrics_are_told(honest, tmp_path):
    """WRK-7: the metrics are measured on the recomputed state; what is right does not depend on what is claimed."""
    path = runs.copy(honest, tmp_path / "copy")

    def improve(closing):
        evaluation = closing.evaluations[0]
        better = msgspec.structs.replace(evaluation.metrics[0], value=evaluation.metrics[0].count)
        metrics = (better, *evaluation.metrics[1:])
        changed = msgspec.structs.replace(closing, evaluations=(msgspec.structs.replace(evaluation, metrics=metrics),))
        verify_closing_record(RecordedRun(honest).plan, changed)
        return changed

    runs.change_closing(path, improve)
    recomputer = open_recomputer(path)
    right = open_recomputer(honest).check_metrics(KEY)
    assert not recomputer.check_metrics(KEY).matches
    assert recomputer.check_metrics(KEY).end_root == right.end_root


def test_another_start_is_told(honest, tmp_path):
    """WRK-5: interval 0 begins with the initialiser; a start that it does not give is not what is claimed."""
    path = tmp_path / "forged"
    run = RecordedRun(honest)

    def plant(step, state):
        if step == 1:
            next(iter(state.tensors.values()))[0] ^= 1

    forge(honest, path, TorchBackend(run.start.aliases), edit=plant)
    computed = open_recomputer(path).recompute(0, KEY)
    assert (computed.matches, computed.step) == (False, 1)
    assert computed.start_root == run.start.state_root


def test_a_start_that_the_initialiser_does_not_give(honest, monkeypatch):
    """WRK-5: the chain then begins at the start that was made, and every leaf is another than the claimed one."""
    made = TorchBackend.make_start

    def make_another(self, program, key):
        records, tensors = made(self, program, key)
        raw = bytearray(tensors[0])
        raw[0] ^= 1
        record = msgspec.structs.replace(records[0], digest=compute_bulk_digest(raw))
        return [record, *records[1:]], [bytes(raw), *tensors[1:]]

    monkeypatch.setattr(TorchBackend, "make_start", make_another)
    computed = open_recomputer(honest).recompute(0, KEY)
    assert (computed.matches, computed.step) == (False, 0)
    assert computed.start_root != RecordedRun(honest).start.state_root
    assert computed == open_recomputer(honest).recompute(0, KEY)


def test_worker_processes_recompute_for_votes(honest, forged):
    """The process of an audit serves votes too: once where it matches, twice before it calls anything different."""
    for path, index, result, replays in ((honest, 5, "matches", 1), (forged, 5, "differs", 2)):
        run = RecordedRun(path)
        answers = []
        pool = Pool(run.path, environment_for(run.profile), workers=1, memory=0, seconds=600)
        pool.carry_out([[Task("vote", index, KEY.hex())]], answers.append)
        own = open_recomputer(path).recompute(index, KEY)
        assert (answers[0].result, answers[0].replays) == (result, replays)
        assert answers[0].vote == VoteRoots(
            own.start_root.hex(),
            own.end_root.hex(),
            own.leaves.size,
            own.leaves.root.hex(),
            own.work_digest.hex(),
        )

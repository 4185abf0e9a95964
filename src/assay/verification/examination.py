"""All of `assay doctor` and `assay estimate`: a script is read, run twice, killed and resumed, and replayed."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

import msgspec
from blake3 import blake3

from assay.errors import AssayError, Unproven
from assay.training.compare.runs import compare_runs
from assay.training.compare.side import Side
from assay.training.doctor.blockers import REPLAYABLE, REPRODUCIBLE, RESUME_SAFE, Blocker, sort_blockers
from assay.training.doctor.reading import Script, read_script
from assay.training.doctor.rules import find_blockers
from assay.verification.reproducible import describe
from assay.verification.tracing import Request, TraceProcess
from assay.verification.trials import Report, Trials

YES, NO, NOT_TRIED = "yes", "no", "not tried"
STATES: Final = 20
BYTES_A_STEP: Final = 400
"""What a run keeps by default, held to by `benchmarks/storage.py`."""

_WARM_UP: Final = 4
_PLACE = re.compile(r"^(?P<file>.+?\.py):(?P<line>\d+): (?P<reason>.*)", re.DOTALL)

Progress = Callable[[str, int, int], None]


class TrialFailed(Unproven):
    """The script itself failed or did not end in time: nothing is known about its training."""

    code: ClassVar[str] = "doctor.trial-failed"


class Goal(msgspec.Struct, frozen=True, rename="camel"):
    """Whether a goal is reached, and how that is known."""

    goal: str
    verdict: str
    how: str


class Examination(msgspec.Struct, frozen=True, rename="camel"):
    """What the doctor says of a script.

    Attributes:
        script: as it was given.
        uses_assay: whether it imports Assay.
        steps: of a trial.
        goals: whether each is reached.
        blockers: what stands in the way.
        disk_bytes: at most, for the steps that the script means to take; None: they are not known.
    """

    script: str
    uses_assay: bool
    steps: int
    goals: list[Goal]
    blockers: list[Blocker]
    disk_bytes: int | None


class Estimate(msgspec.Struct, frozen=True, rename="camel"):
    """What recording costs.

    Attributes:
        steps: for which the disk is counted; 0: unknown.
        eager: seconds of a step without Assay, median.
        recorded: seconds of a step with Assay, median; None: the script does not use it.
        ratio: of both; None likewise.
        hashing: seconds to hash the whole state once; by default that happens every tenth step.
        state_bytes: one stored state; at most `STATES` are kept, and tensors that do not change are stored once.
        data_bytes: the stored data set.
        disk_bytes: states, data and rows together, at most; None: the number of steps is not known.
    """

    steps: int
    eager: float | None
    recorded: float | None
    ratio: float | None
    hashing: float
    state_bytes: int
    data_bytes: int
    disk_bytes: int | None


def examine(trials: Trials, folder: Path, progress: Progress | None = None) -> Examination:
    """Read a script, run it a few times for a few steps, and say what it is and what stands in the way.

    Args:
        trials: the script, and the bounds of its trials.
        folder: new; for the runs of the trials.
        progress: is told what is done, how much, of how much.

    Raises:
        ScriptRefused: it cannot be read.
        TrialFailed: it failed by itself, or took too long.
    """
    script = read_script(trials.script)
    blockers = find_blockers(script)
    say = progress or (lambda *_: None)
    examination = _Recorded(trials, folder, say) if script.uses_assay else _Plain(trials, folder, say)
    goals = examination.examine(script, blockers)
    seen = {blocker.goal for blocker in blockers}
    judged = [goal if goal.verdict != YES or goal.goal not in seen else _contradict(goal) for goal in goals]
    disk = count_disk(examination.first, examination.first.intended)
    return Examination(script.path, script.uses_assay, trials.steps, judged, sort_blockers(blockers), disk)


def count_disk(report: Report, steps: int) -> int | None:
    """Return the most bytes that a run of so many steps takes by default, or None if their number is not known."""
    if not steps:
        return None
    return min(STATES, steps) * report.state_bytes + report.data_bytes + BYTES_A_STEP * steps


def _contradict(goal: Goal) -> Goal:
    return Goal(goal.goal, NO, f"{goal.how}; but see the blockers, which other machines or moments may meet")


def _refuse_failure(report: Report, what: str) -> None:
    if report.failure or report.ended:
        raise TrialFailed(
            f"the script failed {what}",
            actual=report.failure or report.ended,
            next_step="run it by itself first; --time-limit and --memory bound each trial",
        )


class _Recorded:
    """Trials of a script that records with Assay."""

    def __init__(self, trials: Trials, folder: Path, say: Progress) -> None:
        self.trials, self.folder, self.say = trials, folder, say
        self.first = Report()

    def examine(self, script: Script, blockers: list[Blocker]) -> list[Goal]:
        """Run it twice, kill and resume it, replay it."""
        self.say("trials", 0, 4)
        first = self.first = self.trials.run("recorded", self.folder / "first")
        if first.refusal:
            blockers.append(_make_refused(script, first))
            how = "the script was refused before"
            return [
                Goal(REPRODUCIBLE, NOT_TRIED, how),
                Goal(RESUME_SAFE, NOT_TRIED, how),
                Goal(REPLAYABLE, NO, first.refusal),
            ]
        _refuse_failure(first, "when it was run")
        self.say("trials", 1, 4)
        goals = [self._run_again(script, blockers)]
        self.say("trials", 2, 4)
        goals.append(self._resume(script, blockers))
        self.say("trials", 3, 4)
        goals.append(self._replay())
        self.say("trials", 4, 4)
        return goals

    def _run_again(self, script: Script, blockers: list[Blocker]) -> Goal:
        second = self.trials.run("recorded", self.folder / "second")
        if second.refusal:
            return Goal(REPRODUCIBLE, NO, f"the second time: {second.refusal}")
        _refuse_failure(second, "when it was run again")
        return self._compare("second", REPRODUCIBLE, "run twice", script, blockers)

    def _resume(self, script: Script, blockers: list[Blocker]) -> Goal:
        folder = self.folder / "resumed"
        self.trials.run("recorded", folder, kill_at=self.trials.steps // 2 + 2)
        if not _has_states(folder):
            return Goal(RESUME_SAFE, NOT_TRIED, "no state was stored before the run was killed")
        again = self.trials.run("recorded", folder)
        if again.refusal:
            blockers.append(
                Blocker(
                    RESUME_SAFE,
                    again.code,
                    script.path,
                    again.line,
                    again.refusal,
                    again.next_step or "see the message",
                )
            )
            return Goal(RESUME_SAFE, NO, again.refusal)
        _refuse_failure(again, "when it was resumed")
        return self._compare("resumed", RESUME_SAFE, "killed and resumed", script, blockers)

    def _compare(self, name: str, goal: str, how: str, script: Script, blockers: list[Blocker]) -> Goal:
        found = compare_runs(self.folder / "first", self.folder / name)
        if found.equal:
            return Goal(goal, YES, f"{how}: {found.compared} equal steps")
        if not any(blocker.goal == goal for blocker in blockers):
            cure = "seed what is drawn, sort what is listed; assay diff says more of two runs"
            blockers.append(Blocker(goal, "differs", script.path, 0, f"{how}: {found.findings[0].text}", cure))
        return Goal(goal, NO, f"{how}: {describe(found)}")

    def _replay(self) -> Goal:
        try:
            side = Side(self.folder / "first")
            with TraceProcess(side, memory=self.trials.memory, seconds=self.trials.seconds) as process:
                base = min(process.receive().bases)
                process.send(Request("walk", base, side.steps))
                walked = process.receive().walked
        except (AssayError, ValueError) as error:
            return Goal(REPLAYABLE, NO, str(error))
        differing = [one.step for one in walked if not one.same]
        if differing:
            return Goal(REPLAYABLE, NO, f"replayed: step {differing[0]} gave something else")
        return Goal(REPLAYABLE, YES, f"{len(walked)} steps were replayed, bit for bit")


def _make_refused(script: Script, report: Report) -> Blocker:
    """Return the blocker of a refusal; its place is in the message, else in the traceback."""
    place = _PLACE.match(report.refusal)
    file, line, reason = script.path, report.line, report.refusal
    if place is not None:
        file, line, reason = place["file"], int(place["line"]), place["reason"]
        file = script.path if Path(file).resolve() == Path(script.path).resolve() else file
    return Blocker(REPLAYABLE, report.code, file, line, reason, report.next_step or "see the message")


def _has_states(folder: Path) -> bool:
    """Return whether a run that was killed has a stored state after its start to go on from."""
    try:
        return any(step > 0 for step in Side(folder).checkpoints.list_steps())
    except AssayError:
        return False


class _Plain:
    """Trials of a script without Assay."""

    def __init__(self, trials: Trials, folder: Path, say: Progress) -> None:
        self.trials, self.folder, self.say = trials, folder, say
        self.first = Report()

    def examine(self, script: Script, blockers: list[Blocker]) -> list[Goal]:
        """Run it twice; whether it resumes and replays is only read."""
        reports = []
        for number in range(2):
            self.say("trials", number, 2)
            reports.append(self.trials.run("plain", self.folder))
            _refuse_failure(reports[-1], "when it was run")
        self.say("trials", 2, 2)
        one, other = reports
        self.first = one
        if not one.digests or not other.digests:
            raise TrialFailed(
                "the script took no step of an optimizer",
                next_step="name the script that trains; weights that it changes by hand are not seen, torch.optim is",
            )
        differing = [
            step for step, pair in enumerate(zip(one.digests, other.digests, strict=False), 1) if pair[0] != pair[1]
        ]
        goals = [Goal(REPRODUCIBLE, YES, f"run twice: {min(len(one.digests), len(other.digests))} equal steps")]
        if differing:
            text = f"run twice: the weights differ after step {differing[0]}"
            if one.generators != other.generators:
                text += "; the generators were in other states at the first step"
            goals = [Goal(REPRODUCIBLE, NO, text)]
            if not any(blocker.goal == REPRODUCIBLE for blocker in blockers):
                cure = "seed what is drawn and sort what is listed, or record with Assay: it names the first difference"
                blockers.append(Blocker(REPRODUCIBLE, "differs", script.path, 0, text, cure))
        goals.append(_judge_by_reading(RESUME_SAFE, blockers))
        goals.append(_judge_by_reading(REPLAYABLE, blockers))
        return goals


def _judge_by_reading(goal: str, blockers: list[Blocker]) -> Goal:
    if any(blocker.goal == goal for blocker in blockers):
        return Goal(goal, NO, "the script was read; see the blockers")
    return Goal(goal, NOT_TRIED, "the script does not use Assay; nothing in the way was seen in its text")


def estimate(trials: Trials, folder: Path, steps: int = 0, progress: Progress | None = None) -> Estimate:
    """Measure what recording a script would cost.

    Args:
        trials: the script, and the bounds of its trials.
        folder: new; for the run of the trial.
        steps: of the whole training; 0: as the script means to, if that is known.
        progress: is told what is done.

    Raises:
        ScriptRefused: it cannot be read.
        TrialFailed: it failed, or Assay refuses it.
    """
    script = read_script(trials.script)
    say = progress or (lambda *_: None)
    say("measuring", 0, 2)
    eager = trials.run("eager" if script.uses_assay else "plain", folder / "eager")
    _refuse_failure(eager, "without Assay")
    say("measuring", 1, 2)
    recorded = trials.run("timed", folder / "timed") if script.uses_assay else eager
    if recorded.refusal:
        raise TrialFailed("Assay refuses the script", actual=recorded.refusal, next_step=f"assay doctor {script.path}")
    _refuse_failure(recorded, "with Assay")
    say("measuring", 2, 2)
    without, with_assay = _median(eager), _median(recorded) if script.uses_assay else None
    total = steps or recorded.intended
    return Estimate(
        steps=total,
        eager=without,
        recorded=with_assay,
        ratio=with_assay / without if with_assay and without else None,
        hashing=_measure_hashing(recorded.state_bytes),
        state_bytes=recorded.state_bytes,
        data_bytes=recorded.data_bytes,
        disk_bytes=count_disk(recorded, total),
    )


def _median(report: Report) -> float | None:
    """Return the median time of the steps after the first ones, in which programs are recorded and caches warm up."""
    kept = report.seconds[_WARM_UP:]
    return statistics.median(kept) if kept else None


def _measure_hashing(size: int) -> float:
    data = bytes(min(size, 1 << 26))
    begun = time.perf_counter()
    blake3(data).digest()
    return (time.perf_counter() - begun) * (size / len(data) if data else 0.0)

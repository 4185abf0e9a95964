"""From "the same step gave other bits" to the first operator: both runs are replayed, each under its own profile.

Two processes replay the steps up to the one in question, from a stored state that both runs have. The first step whose
results differ in the replay is traced on both sides, and the first operator that gave other bits is named, with the
distance of its results in units in the last place.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any, Final, Self

import msgspec

from assay.errors import AssayError, Unproven
from assay.protocol.decoders import get_json_decoder
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.model_state import TensorRecord
from assay.protocol.hashing import compute_bulk_digest
from assay.training.compare.side import Side
from assay.training.lines import read_line
from assay.training.profile_environment import environment_for
from assay.training.program_difference import name_inputs, show_node
from assay.verification.distances import compare_tensors
from assay.verification.tasks import TensorDifference

MAX_VALUE_BYTES: Final = 64 * 1024 * 1024
"""A larger value is named, and its distance is not measured."""

_MAX_LINE: Final = 4 * MAX_VALUE_BYTES


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`do`: "walk" to a step, "trace" it, or send one "value" of it; `base`: the stored state to begin at."""

    do: str
    base: int
    step: int
    node: int = 0
    output: int = 0


class Walked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a replayed step gave; `same`: as the run recorded it."""

    step: int
    root: str
    loss: str
    same: bool


class Traced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output of one operator."""

    node: int
    output: int
    dtype: str
    shape: list[int]
    digest: str


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tracing process says; `problem` is empty, or why there is nothing else."""

    problem: str = ""
    bases: list[int] = []
    walked: list[Walked] = []
    values: list[Traced] = []
    data: str = ""


class TraceFailed(Unproven):
    """A step could not be replayed on this machine; nothing is known about its operators."""

    code = "diff.trace-failed"


class OperatorDifference(msgspec.Struct, frozen=True, rename="camel"):
    """Where two replays of one step first part.

    Attributes:
        step: of A.
        node, output: which operator of the program, counted from 0, and which of its outputs.
        operator: the operator with its arguments.
        line: the user's source line, or empty if it is not known.
        distance: how its results differ; None if they are too large to be sent.
        reproduced: whether both replays gave what the runs recorded.
        feeds: state tensors that are computed from it.
    """

    step: int
    node: int
    output: int
    operator: str
    line: str
    distance: TensorDifference | None
    reproduced: bool
    feeds: tuple[str, ...]


class TraceProcess:
    """One tracing process as its parent sees it.

    Args:
        side: the run that it replays.
        memory: bytes that it may take beyond its start; 0: no bound.
        seconds: after which it is killed, counted anew for each request.

    Raises:
        TraceFailed: it cannot be started, or cannot have the profile of the run.
    """

    def __init__(self, side: Side, *, memory: int, seconds: float) -> None:
        self._label, self._seconds = side.label, seconds
        try:
            environment = environment_for(side.profile)
        except AssayError as error:
            raise TraceFailed(f"{side.label} cannot be replayed here", actual=str(error)) from None
        command = [sys.executable, "-P", "-m", "assay.verification.trace_process", str(side.path), str(memory)]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def send(self, request: Request) -> None:
        """Ask for something; `receive` waits for the reply."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(msgspec.json.encode(request) + b"\n")
                self._process.stdin.flush()

    def receive(self) -> Reply:
        """Return the next reply.

        Raises:
            TraceFailed: the process died, took too long, or says what is wrong.
        """
        timer = threading.Timer(self._seconds, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            line = self._process.stdout.readline(_MAX_LINE) if self._process.stdout is not None else b""
        finally:
            timer.cancel()
        try:
            reply = get_json_decoder(Reply).decode(line)
        except msgspec.MsgspecError:
            raise TraceFailed(f"the replay of {self._label} ended without an answer") from None
        if reply.problem:
            raise TraceFailed(f"{self._label} cannot be replayed here", actual=reply.problem)
        return reply


def locate_difference(
    a: Side, b: Side, step: int, shift: int = 0, *, memory: int = 0, seconds: float = 600.0
) -> OperatorDifference:
    """Replay both runs up to a step and name the first operator that gives other bits.

    Args:
        a: one run.
        b: the other; its steps have the numbers of A's less `shift`.
        step: of B, the first whose recorded results differ.
        shift: see `a`, `b`.
        memory: bytes that each process may take; 0: no bound.
        seconds: for each request.

    Raises:
        TraceFailed: a side cannot be replayed here, no state is stored on both sides, or the replays give the same.
    """
    with TraceProcess(a, memory=memory, seconds=seconds) as one, TraceProcess(b, memory=memory, seconds=seconds) as two:
        return _locate(_Pair(one, two, shift), a, step)


class _Pair:
    """Both processes, asked at the same time."""

    def __init__(self, one: TraceProcess, other: TraceProcess, shift: int) -> None:
        self.processes = ((one, shift), (other, 0))
        self.shift = shift

    def ask(self, do: str, base: int, step: int, **place: int) -> tuple[Reply, Reply]:
        """Return the replies to one request in the numbering of B."""
        for process, shift in self.processes:
            process.send(Request(do, base + shift, step + shift, **place))
        return self.receive()

    def receive(self) -> tuple[Reply, Reply]:
        """Return the next reply of each."""
        return self.processes[0][0].receive(), self.processes[1][0].receive()


def _locate(pair: _Pair, a: Side, step: int) -> OperatorDifference:
    first, second = pair.receive()
    bases = {base - pair.shift for base in first.bases} & set(second.bases)
    usable = [base for base in bases if base < step]
    if not usable:
        raise TraceFailed("the runs have no stored state in common before the step", expected=f"a state before {step}")
    base = max(usable)
    walked = pair.ask("walk", base, step)
    reproduced = all(one.same for reply in walked for one in reply.walked)
    differing = [
        there.step
        for here, there in zip(walked[0].walked, walked[1].walked, strict=True)
        if (here.root, here.loss) != (there.root, there.loss)
    ]
    if not differing:
        raise TraceFailed(
            "replaying the step gives the same on both sides",
            actual="the recorded difference cannot be had again" if not reproduced else "equal results",
            next_step="it came from something that is not recorded: a faulty machine, or an operator that is not "
            "repeatable; `assay run audit` says which of the two runs can be recomputed",
        )
    found = differing[0]
    traces = pair.ask("trace", base, found)
    parts = _find_first(traces)
    if parts is None:
        raise TraceFailed("the steps differ and none of their operators does", actual=f"step {found + pair.shift}")
    here, there = parts
    replies = pair.ask("value", base, found, node=here.node, output=here.output)
    identity = a.get_program_id(a.log.read(found + pair.shift).program)
    program = a.read_program(identity)
    return OperatorDifference(
        step=found + pair.shift,
        node=here.node,
        output=here.output,
        operator=show_node(program.nodes[here.node], name_inputs(program)),
        line=read_line(a, identity, here.node),
        distance=_measure(here, there, replies),
        reproduced=reproduced,
        feeds=find_fed(program, here.node),
    )


def _find_first(traces: tuple[Reply, Reply]) -> tuple[Traced, Traced] | None:
    for here, there in zip(traces[0].values, traces[1].values, strict=False):
        if here != there:
            return here, there
    return None


def _measure(here: Traced, there: Traced, replies: tuple[Reply, Reply]) -> TensorDifference | None:
    try:
        data = [base64.b64decode(reply.data, validate=True) for reply in replies]
    except binascii.Error:
        return None
    if not all(data) or (here.dtype, here.shape) != (there.dtype, there.shape) or len(data[0]) != len(data[1]):
        return None
    record = TensorRecord(0, "result", here.dtype, tuple(here.shape), len(data[0]), compute_bulk_digest(data[0]))
    return compare_tensors(record, *data)


def find_fed(program: ir.Program, node: int) -> tuple[str, ...]:
    """Return the tensors of the state that are computed from the outputs of a node, at most eight."""
    first = len(program.state) + len(program.batch) + len(program.constants)
    reached: set[int] = set()
    for number, other in enumerate(program.nodes):
        made = range(first, first + len(other.outputs))
        first += len(other.outputs)
        if number == node or (number > node and not reached.isdisjoint(_read(other))):
            reached.update(made)
    return tuple(output.name for output in program.state_outputs if output.value in reached)[:8]


def _read(node: ir.Node) -> list[int]:
    found: list[Any] = []
    for argument in (*node.arguments, *(keyword.value for keyword in node.keywords)):
        found += argument.items if isinstance(argument, ir.Sequence) else (argument,)
    return [item.index for item in found if isinstance(item, ir.Value)]

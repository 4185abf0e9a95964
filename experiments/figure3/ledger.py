"""Our rule: every model goes through the whole ledger, with simulated verifiers of whom some lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from assay.protocol.contracts.submission_records import COMMIT, FINAL, WITHDRAWN
from experiments.figure3.models import Model
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import (
    Verifier,
    Voting,
    carry_on,
    list_judgements,
    open_world,
    submit,
    vote_chaotically,
    vote_lazily,
)
from experiments.simulation.world import World, name_actors

MODES: dict[str, Voting] = {"ordered": vote_lazily, "chaotic": vote_chaotically}
"""Ordered: calls false intervals true. Chaotic: that, and true ones false, all liars with one same root."""


class Tally(NamedTuple):
    """What came of the models of one level.

    Attributes:
        outcomes: "right", "wrong", "inconclusive", and "unseen": accepted though false, no false interval being judged.
        drawn: sub-quorums of the first round.
        corrupt: those of them of whom two thirds lie.
        replays: intervals that somebody recomputed, over all models.
    """

    outcomes: Counter[str]
    drawn: int
    corrupt: int
    replays: int


PER_LEDGER = 40
"""Models on one ledger: its chain of reveals has an end."""


def judge_models(models: Sequence[Model], mode: str, lying: int, settings: dict[str, Any]) -> Tally:
    """Submit all models, some to each ledger, and count the verdicts.

    Args:
        models: to be judged.
        mode: a key of `MODES`.
        lying: number of lying verifiers.
        settings: verifiers, intervals, sample, subQuorum.
    """
    total = Tally(Counter(), 0, 0, 0)
    for start in range(0, len(models), PER_LEDGER):
        found = _judge_some(models[start : start + PER_LEDGER], mode, lying, settings)
        total = Tally(
            total.outcomes + found.outcomes,
            total.drawn + found.drawn,
            total.corrupt + found.corrupt,
            total.replays + found.replays,
        )
    return total


def _judge_some(models: Sequence[Model], mode: str, lying: int, settings: dict[str, Any]) -> Tally:
    bad = [Verifier(actor, MODES[mode]) for actor in name_actors("bad", lying)]
    world, submitter, crew = open_world(
        settings["verifiers"] - lying,
        bad,
        name=f"figure3 {mode} {lying} {models[0].number}",
        quorum=settings["verifiers"],
        max_sub_quorum=settings["verifiers"],
    )
    liars = {verifier.actor.account for verifier in bad}
    outcomes: Counter[str] = Counter()
    drawn = corrupt = replays = 0
    for model in models:
        _set_flags(crew, model, liars, world)
        run = pretend(world, submitter, f"model {model.number}", settings["intervals"], model.false, model.number)
        code = submit(world, submitter, run, sample=settings["sample"], sub_quorum=settings["subQuorum"])
        if code:
            raise RuntimeError(f"a submission was refused: {code}")
        judged: set[int] = set()
        while world.get_status(run.submission).phase not in {FINAL, WITHDRAWN}:
            carry_on(world, run, crew)
            status = world.get_status(run.submission)
            if status.phase == COMMIT:
                for judgement in list_judgements(world, run):
                    fresh = judgement.interval not in judged
                    judged.add(judgement.interval)
                    replays += len(judgement.seats) if fresh or status.round else 0
                    if fresh and status.round == 0:
                        drawn += 1
                        bad_seats = sum(seat.account in liars for seat in judgement.seats)
                        corrupt += 3 * bad_seats >= 2 * len(judgement.seats)
        replays += settings["verifiers"] * world.parameters.submissions.private_intervals
        outcomes[_name_outcome(world.get_status(run.submission).verdict, model, judged)] += 1
    return Tally(outcomes, drawn, corrupt, replays)


def _set_flags(crew: Sequence[Verifier], model: Model, liars: set[bytes], world: World) -> None:
    """Let honest verifiers flag what the weight analysis flags, a few each, and liars nothing."""
    few = world.parameters.submissions.flags_per_verifier
    parts = [model.flagged[i : i + few] for i in range(0, len(model.flagged), few)] or [()]
    for number, verifier in enumerate(crew):
        verifier.flags = () if verifier.actor.account in liars else parts[number % len(parts)]


def _name_outcome(verdict: str, model: Model, judged: set[int]) -> str:
    if verdict == "inconclusive":
        return "inconclusive"
    if (verdict == "rejected") == bool(model.false):
        return "right"
    return "wrong" if verdict == "rejected" or judged & set(model.false) else "unseen"

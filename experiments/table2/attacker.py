"""An attacker who knows measure, threshold and ways back, and poisons as much as goes unseen.

They train, look at the flags that they would get, and turn the poison down until there are none: eight intervals in a
row with a constant share of poisoned samples; the same with a share that climbs; or every interval from the first, so
that there is no clean training to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from experiments.table2.scenarios import Case
from experiments.table2.series import Variant, find, make_all

GROUP = 8
STRATEGIES = ("constant", "climbing", "always")


def plan(case: Case, strategy: str, share: float) -> Case:
    """Return the same network with the attacker's poison."""
    count = case.recipe.intervals
    first = 0 if strategy == "always" else count - GROUP - 3
    last = count if strategy == "always" else first + GROUP
    recipe = case.recipe._replace(share=share, climbs=strategy == "climbing")
    return case._replace(recipe=recipe, poisoned=tuple(range(first, last)), scenario=strategy)


def attack(
    cases: Sequence[Case], shares: Sequence[float], variant: Variant, factor: float, pool: Executor
) -> list[dict[str, Any]]:
    """Return for each strategy what the strongest unseen attack reached, beside the strongest attack.

    Args:
        cases: clean networks.
        shares: of poisoned samples that the attacker tries, the largest first.
        variant: the detector.
        factor: its factor.
        pool: trains.
    """
    wishes = [(number, s, x) for number in range(len(cases)) for s in STRATEGIES for x in shares]
    trained = dict(zip(wishes, make_all([plan(cases[n], s, x) for n, s, x in wishes], pool), strict=True))
    lines = []
    for strategy in STRATEGIES:
        recalls, successes, chosen, unseen = [], [], [], 0
        for number in range(len(cases)):
            best = None
            for share in shares:
                series = trained[number, strategy, share]
                flagged = sum(find(series, variant, factor).flagged[i] for i in series.case.poisoned)
                best = (flagged / len(series.case.poisoned), max(series.success), share)
                if not flagged:
                    unseen += 1
                    break
            if best is not None:
                recalls.append(best[0])
                successes.append(best[1])
                chosen.append(best[2])
        loud = [max(trained[number, strategy, shares[0]].success) for number in range(len(cases))]
        lines.append(
            {
                "strategy": strategy,
                "networks": len(cases),
                "unseen": unseen,
                "recall": round(sum(recalls) / len(recalls), 4),
                "share": round(sum(chosen) / len(chosen), 4),
                "success": round(sum(successes) / len(successes), 4),
                "successAtFullShare": round(sum(loud) / len(loud), 4),
            }
        )
    return lines

"""The paper's rule: flagged intervals only, a sub-quorum for each, its majority decides, no second round.

Differs: the paper does not state sizes or how a sub-quorum decides; three and the simple majority are taken.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from experiments.figure3.models import Model


def judge_models(models: Sequence[Model], mode: str, share: float, size: int, seed: int) -> float:
    """Return the share of models that are judged rightly.

    Args:
        models: to be judged; only what is flagged is recomputed.
        mode: "ordered" or "chaotic".
        share: of lying nodes.
        size: of a sub-quorum.
        seed: of the draws.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation
    right = 0
    for model in models:
        rejected = False
        for interval in model.flagged:
            liars = sum(chance.random() < share for _ in range(size))
            majority_lies = 2 * liars > size
            is_false = interval in model.false
            says_false = is_false != majority_lies if mode == "chaotic" else is_false and not majority_lies
            rejected = rejected or says_false
        right += rejected == bool(model.false)
    return right / len(models)

"""What a recorded step may be given: modules that are their own, optimizers whose numbers can be read.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from assay.training.pytorch.call_numbers import OptimizerRefused
from assay.training.pytorch.forbidden import StepRefused, get_module_objection
from assay.training.pytorch.scalars import ScalarReader
from assay.training.pytorch.tape import get_user_location


def verify_recordable(models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Check models and optimizers where the user names them, before anything of the run is fixed.

    Raises:
        StepRefused: a module that is compiled, or wraps one for several devices or processes.
        OptimizerRefused: an optimizer of a class that cannot be recorded.
        Both name the user's line.
    """
    where = get_user_location()
    for model in models:
        for module in model.modules():
            objection = get_module_objection(module)
            if objection is not None:
                raise StepRefused(f"{where}: the step {objection[0]}", next_step=objection[1])
    try:
        ScalarReader(optimizers)
    except OptimizerRefused as refusal:
        raise OptimizerRefused(
            f"{where}: {refusal.message}",
            expected=refusal.expected,
            actual=refusal.actual,
            next_step=refusal.next_step,
        ) from None

"""No trap of the benchmark's list bakes anything in silently; each is recorded beside plain eager PyTorch."""

import pytest
import torch

from benchmarks.traps import LIFTED, REFUSED, TRAPS, spring

torch.set_num_threads(1)

LIFTED_ONES = {"draw_by_torch", "buffer_rebound", "closure_rate", "late_hook", "frozen_later", "settings_by_hand"}
QUICK = [maker for maker in TRAPS if maker.__name__ != "late_global"]


@pytest.mark.parametrize("maker", QUICK, ids=lambda maker: maker.__name__)
def test_no_trap_is_silent(maker):
    """A trap is lifted with eager's bits, or refused with a cure; those that can be lifted are."""
    caught = spring(maker)
    assert caught.outcome in ({LIFTED} if maker.__name__ in LIFTED_ONES else {LIFTED, REFUSED}), caught.detail

import gc
import time

from assay.training.pytorch.outside_calls import watch_outside_calls


def test_a_callback_of_the_garbage_collector_is_not_the_step():
    """Another library's callback reads the clock while a step is recorded: the step is not refused for it."""
    seen = []

    def note(phase, info):
        seen.append(time.perf_counter())

    gc.callbacks.append(note)
    thresholds = gc.get_threshold()
    gc.set_threshold(10)
    try:
        with watch_outside_calls():
            for _ in range(100):
                cycle = []
                cycle.append(cycle)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(note)
    assert seen

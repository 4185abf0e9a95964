"""What is analysed: the stored states of a run, or safetensors files in the order of the training."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from assay.training.recorded import RecordedRun, RunContradicts
from assay.verification.weight_analysis.analysis import Progress, analyse_states
from assay.verification.weight_analysis.checkpoint_source import CheckpointSource
from assay.verification.weight_analysis.measures import DEFAULT_MEASURE
from assay.verification.weight_analysis.records import WeightAnalysis
from assay.verification.weight_analysis.safetensors_file import SafetensorsSource
from assay.verification.weight_analysis.sources import WeightSource
from assay.verification.weight_analysis.thresholds import Threshold


def analyse_run(
    path: Path | str,
    *,
    measure: str = DEFAULT_MEASURE,
    threshold: Threshold | None = None,
    ways_back: bool = True,
    progress: Progress | None = None,
) -> WeightAnalysis:
    """Analyse the parameters of the states that a run keeps; an interval is what lies between two kept states.

    Args:
        path: the run, finished or in progress.
        measure: see `analyse_states`.
        threshold: see `analyse_states`.
        ways_back: see `analyse_states`.
        progress: see `analyse_states`.

    Raises:
        RunContradicts: a kept state is not the one that the transcript claims.
        AssayError: the run cannot be read, or see `analyse_states`.
    """
    run = RecordedRun(path)
    try:
        store = run.directory.checkpoints
        steps = [step for step in store.list_steps() if step <= run.steps]
        for step in steps:
            if store.read_manifest(step).state_root != run.get_claimed_root(step):
                raise RunContradicts(f"the stored state of step {step} is not the one that the transcript claims")

        def open_state(step: int) -> AbstractContextManager[WeightSource]:
            return CheckpointSource(store, step)

        return analyse_states(
            str(path),
            steps,
            open_state,
            measure=measure,
            threshold=threshold,
            ways_back=ways_back,
            progress=progress,
        )
    finally:
        run.close()


def analyse_files(
    paths: Sequence[Path],
    *,
    measure: str = DEFAULT_MEASURE,
    threshold: Threshold | None = None,
    ways_back: bool = True,
    progress: Progress | None = None,
) -> WeightAnalysis:
    """Analyse safetensors files, one for each state, at equal distances and in the order of the training.

    Args:
        paths: of the files; states are numbered from 0.
        measure: see `analyse_states`.
        threshold: see `analyse_states`.
        ways_back: see `analyse_states`.
        progress: see `analyse_states`.

    Raises:
        AssayError: a file cannot be read, or see `analyse_states`.
    """

    def open_state(number: int) -> AbstractContextManager[WeightSource]:
        return SafetensorsSource(paths[number])

    return analyse_states(
        str(paths[0]) if paths else "no file",
        range(len(paths)),
        open_state,
        measure=measure,
        threshold=threshold,
        ways_back=ways_back,
        progress=progress,
    )

"""`assay.start` and the run that it opens: the user's loop with a few changed lines.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.utils.data import DataLoader

from assay.errors import UsageError
from assay.protocol.evidence.observed import ObservedEnd
from assay.protocol.evidence.plan import ClosingRecord
from assay.storage.run_directory import RunDirectory
from assay.storage.run_layout import FORMAT
from assay.training.checkpoint_writer import CheckpointWriter
from assay.training.data_store import store_data
from assay.training.datasets import MapDataset
from assay.training.events import verify_reason
from assay.training.observed import refuse_observed
from assay.training.pytorch import opening
from assay.training.pytorch.backend import compute_state
from assay.training.pytorch.home import StateHome
from assay.training.pytorch.initialiser import InitialiserTape
from assay.training.pytorch.live_run import LiveRun
from assay.training.pytorch.loader import Loader
from assay.training.pytorch.loading import Wishes, make_loader
from assay.training.pytorch.measuring import measure
from assay.training.pytorch.observe import Observer, ObserveRefused
from assay.training.pytorch.parent import Parent, adopt_parent
from assay.training.pytorch.profile import tune_allocator
from assay.training.pytorch.recordable import verify_recordable
from assay.training.pytorch.run_errors import AlreadyFinished, WrongOrder
from assay.training.pytorch.step_runner import StepRunner
from assay.training.recorder import RunRecorder
from assay.training.signing import sign_closing

MAX_ACCUMULATED = 4096
"""Most batches of the loader in one step: each is a part of the step's program."""


def make_seed(seed: int | bytes) -> bytes:
    """Return the 32 bytes of a seed: themselves, or an integer below 2²⁵⁶ in little-endian order."""
    if isinstance(seed, bytes) and len(seed) == 32:
        return seed
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**256:
        return seed.to_bytes(32, "little")
    raise UsageError("not a seed", expected="an integer of at least 0 and below 2**256, or 32 bytes", actual=repr(seed))


def verify_accumulated(count: int) -> None:
    """Check a number of batches of one step.

    Raises:
        UsageError: none, or too many.
    """
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_ACCUMULATED:
        raise UsageError(f"accumulate is a number from 1 to {MAX_ACCUMULATED}", actual=repr(count))


def start(
    path: str | Path,
    *,
    seed: int | bytes = 0,
    checkpoint_every: int | None = None,
    root_period: int | None = None,
    threads: int = 1,
    mkldnn: bool | None = None,
    key: str = "default",
) -> Run:
    """Open a run: a new one, or the one that the same script began in this folder.

    Args:
        path: the folder of the run.
        seed: of initialisation, order and every draw.
        checkpoint_every: interval length in steps; None: a twentieth of the intended steps.
        root_period: a leaf holds a state root every so many steps; None: 10.
        threads: threads inside an operator; other numbers give other bits.
        mkldnn: whether oneDNN may be used; None: unless a model has recurrent layers.
        key: name of the recorder's key, which is made if there is none.

    Raises:
        AlreadyFinished: the run in this folder has ended.
        RunLocked: another process is recording it.
        StorageError: the disk is read-only, full or failing.
    """
    for name, value in (("checkpoint_every", checkpoint_every), ("root_period", root_period), ("threads", threads)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UsageError(f"{name} is a number of at least 1", actual=repr(value))
    return Run(Path(path), make_seed(seed), checkpoint_every, root_period, threads, mkldnn, key)


class Run:
    """A run that is being recorded; made by `start`.

    Attributes:
        path: its folder.
        step: the last step that was carried out.
    """

    def __init__(
        self,
        path: Path,
        seed: bytes,
        checkpoint_every: int | None,
        root_period: int | None,
        threads: int,
        mkldnn: bool | None,  # noqa: FBT001 - `start` is the public door
        key: str,
    ) -> None:
        tune_allocator()
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads)
        self.path = path
        self._seed, self._key = seed, key
        self._checkpoint_every, self._root_period = checkpoint_every, root_period
        self._threads, self._mkldnn = threads, mkldnn
        exists = (path / FORMAT).exists()
        self._run = RunDirectory.open(path, write=True) if exists else RunDirectory.create(path)
        if any(map(self._run.has_object, ("signature.bin", "observer.bin"))):  # the last object of a run
            self._run.close()
            raise AlreadyFinished(
                f"{path} is a finished run", next_step="audit it with `assay run audit`, or choose another folder"
            )
        self._checkpoints = CheckpointWriter(self._run)
        self._letting_go = weakref.finalize(self, _let_go, self._checkpoints, self._run)
        self._initialiser: InitialiserTape | None = None
        self._parent: Parent | None = None
        self._loader: Loader | None = None
        self._models: list[nn.Module] = []
        self._optimizers: list[torch.optim.Optimizer] = []
        self._bodies: list[Callable[..., Any]] = []
        self._accumulated: int | None = None
        self._is_loader_accumulating = False  # run.loader was told, so that steps need not be
        self._intended = 0
        self._live: LiveRun | None = None
        self._observer: Observer | None = None
        self._why = ""  # the loop was left early

    # -- what the user calls before the loop --------------------------------------------------------------------------

    def init(self) -> InitialiserTape:
        """Return a block in which models are made: their start is then a program that anybody can run again."""
        self._initialiser = self._initialiser or InitialiserTape(self._seed)
        return self._initialiser

    def adopt(self, net: nn.Module, *, certificate: str | Path, model: str | Path) -> None:
        """Fill a model from a certified file: the run then starts from that certificate (fine-tuning).

        Args:
            net: the first of `models` of the step, built as for the certified run. Adapters and other new modules
                belong into further models; what they add is declared.
            certificate: the parent's training certificate.
            model: the exported model file that it is about.

        Raises:
            ParentUnfit, FileUnfit: certificate, file and module do not belong together.
        """
        if self._live is not None or self._initialiser is not None or self._parent is not None:
            raise WrongOrder("run.adopt comes first, once, and instead of run.init()")
        self._parent = adopt_parent(net, certificate, model)

    def loader(
        self,
        dataset: MapDataset | DataLoader[Any],
        *,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        drop_last: bool | None = None,
        pad: int | Mapping[str, int] | None = None,
        pad_to: int = 1,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        accumulate: int | None = None,
    ) -> Loader:
        """Commit to a data set and return the loader that fixes its order.

        Args:
            dataset: map-style; what `dataset[i]` returns is committed and stored in the run. Or a `DataLoader` over
                one, whose other arguments are taken over.
            batch_size: samples a batch.
            shuffle: whether the order of each epoch is drawn from the seed; None: yes.
            drop_last: whether a last batch that is not full is left out; None: no.
            pad: fills where samples differ in shape, one for all fields or by name ('#0' is the first of a tuple).
            pad_to: padded extents are multiples of this, so that few batch shapes, and few programs, occur.
            collate_fn: makes a batch of a list of samples, as that of a `DataLoader`. What it makes of each sample
                alone is committed; one that looks at several samples is refused.
            accumulate: batches that make one step, as in `step`; given here, `len(loader)` is right from the beginning.

        Raises:
            LoaderRefused: a `DataLoader` or a collate function that does something which a run cannot do again.
            UnusableDataset, UnsupportedSample, RandomTransform, RaggedData: with the cure.
        """
        if self._loader is not None:
            raise WrongOrder("run.loader was called twice", expected="one training set")
        if accumulate is not None:
            verify_accumulated(accumulate)
        wishes = Wishes(batch_size, shuffle, drop_last, pad, pad_to, collate_fn)
        loader = make_loader(dataset, wishes, seed=self._seed, begin=self._begin_batch)
        if accumulate is not None:
            loader.accumulate(accumulate)
        self._loader, self._accumulated, self._is_loader_accumulating = loader, accumulate, accumulate is not None
        return loader

    def step(
        self,
        *,
        models: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        accumulate: int | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorate the training step: forward, backward, update.

        A run may have several, such as one for a warm-up and one for what comes after; each batch goes to one of them.

        Args:
            models: every module whose parameters or buffers the step reads.
            optimizers: every optimizer that it steps.
            accumulate: batches of the loader that make one step. The loader then yields lists of so many batches, the
                last list of an epoch may be shorter, and the step goes through its list before it updates.

        Raises:
            StepRefused, OptimizerRefused: a model or an optimizer that cannot be recorded, with the line of this call.
            WrongOrder: the loop has begun.
        """
        if self._live is not None:
            raise WrongOrder(
                "@run.step was used after the loop began",
                expected="every recorded step before the first batch",
                next_step="decorate all steps first, and choose between them in the loop",
            )
        if not models or not optimizers:
            raise UsageError("a recorded step needs models=[...] and optimizers=[...]")
        verify_recordable(models, optimizers)
        self._accumulate(accumulate)
        self._models += [model for model in models if not any(model is known for known in self._models)]
        self._optimizers += [one for one in optimizers if not any(one is known for known in self._optimizers)]

        def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
            place = len(self._bodies)
            self._bodies.append(body)

            @functools.wraps(body)
            def recorded(*args: Any, **kwargs: Any) -> Any:
                return self._open().carry_out(place, args, kwargs)

            return recorded

        return decorate

    def _accumulate(self, count: int | None) -> None:
        if count is None and (not self._models or self._is_loader_accumulating):
            return
        if count != self._accumulated and (self._models or self._accumulated is not None):
            raise WrongOrder(
                "two of run.loader and the recorded steps accumulate over different numbers of batches",
                expected=f"accumulate={self._accumulated}, as before",
                actual=count,
                next_step="give the loader or all steps of a run the same number: one loader feeds them",
            )
        if count is None or count == self._accumulated:
            return
        verify_accumulated(count)
        if self._loader is None or self._live is not None:
            raise WrongOrder("@run.step(accumulate=...) comes after run.loader(...) and before the loop")
        self._loader.accumulate(count)
        self._accumulated = count

    # -- the loop -----------------------------------------------------------------------------------------------------

    def begin(self, steps: int) -> int:
        """Fix the plan, or find where the run stopped; for loops of others, which do not go through `epochs`.

        Args:
            steps: that are intended; 0: unknown.

        Returns:
            The last step that was carried out.
        """
        if self._live is None:
            self._intended = steps
        self._open()
        return self.step_number

    def epochs(self, count: int) -> Iterator[int]:
        """Yield the epochs that are left, counted from 0; a resumed run begins in the epoch of its next step."""
        if self._loader is None:
            raise WrongOrder("run.epochs needs run.loader first")
        first = self.begin(count * len(self._loader)) // len(self._loader)
        yield from range(first, count)

    @property
    def step_number(self) -> int:
        """The last step that was carried out."""
        if self._observer is not None:
            return self._observer.recorder.step
        return self._live.step if self._live is not None else 0

    def _begin_batch(self) -> int:
        self._open()
        return self.step_number + 1

    def _open(self) -> LiveRun:
        """Fix the plan, or find where the run stopped, once; return what carries out its steps."""
        if self._live is not None:
            return self._live
        if self._observer is not None:
            raise WrongOrder("an observed run has no recorded steps", expected="run.log and run.finish alone")
        refuse_observed(self._run)
        if self._loader is None or not self._bodies:
            raise WrongOrder("the run has no data or no step", expected="run.loader(...) and @run.step before the loop")
        mkldnn = opening.choose_mkldnn(self._models, wanted=self._mkldnn)
        device = opening.find_device(self._models)
        profile = opening.open_profile(self._run, threads=self._threads, mkldnn=mkldnn, device=device)
        tape = self._initialiser
        initialiser = tape.build(self._models, self._optimizers) if tape is not None else None
        home = StateHome(self._models, self._optimizers)
        start_, record = opening.adopt_start(self._run, *opening.describe_start(home, initialiser, self._parent))
        interval = opening.choose_interval(self._checkpoint_every, self._intended, declared=initialiser is None)
        plan = opening.make_plan(
            start=start_,
            data=self._loader.data.record,
            order_version=self._loader.feed.order_version,
            seed=self._seed,
            intended_steps=self._intended,
            batch_size=self._loader.feed.batch_size,
            last_batch=self._loader.feed.last_batch,
            collate=self._loader.feed.collate,
            interval_length=interval,
            root_period=self._root_period or min(opening.DEFAULT_ROOT_PERIOD, interval),
            profile=profile,
        )
        opening.compare_plans(self._run, plan)
        if self._parent is not None:
            self._run.write_object("parent.bin", self._parent.certificate)
        store_data(self._run, "train", self._loader.data.packed, self._loader.data.record)
        recorder = RunRecorder(self._run, plan, record)
        if initialiser is not None:
            recorder.add_program(initialiser, first_step=0)
        runners = [StepRunner(body, self._models, self._optimizers, home, self._seed, profile) for body in self._bodies]
        live = LiveRun(self._run, recorder, home, runners, self._loader, self._optimizers, self._checkpoints)
        self._live = live
        live.go_on(record.state_root, declared=initialiser is None)
        return live

    # -- beside and after the loop ------------------------------------------------------------------------------------

    @contextmanager
    def edit(self, reason: str) -> Iterator[None]:
        """Change the state between two steps, as a recorded, *declared* event: certificates and reports show it.

        Args:
            reason: why, in 1 to 1024 printable characters of ASCII; different for different edits, because a resumed
                run knows its edits by step and reason.

        Raises:
            EditRefused: a second edit after one step, or tensors that appeared, vanished or changed form.
            NotFinite: the edit left NaN or infinity.
        """
        with self._open().edit(reason):
            yield

    def at(self, step: int) -> dict[str, torch.Tensor]:
        """Return the state after a step, recomputed from the nearest stored state before it.

        Args:
            step: 0 (the start) to the last step that is in the log.

        Returns:
            Name to tensor (model index '/' qualified name; slots under optimizer index '/' parameter '/' slot).
        """
        self._open()
        if self._run.writable:
            self._checkpoints.wait()
            self._run.steps.flush()
        return compute_state(self.path, step)

    def log(self, **values: float | str) -> None:
        """Write values of your own beside the step; they are declared, never proven."""
        self._run.log.append({"step": self.step_number, **values})

    def evaluate(
        self, net: nn.Module, dataset: MapDataset, *, metrics: Sequence[str], batch_size: int = 256
    ) -> dict[str, float]:
        """Measure a model on a test set, as evidence: whoever checks the run measures again.

        Args:
            net: one of the models of the step; it is put into evaluation mode and back.
            dataset: samples whose last field is the target.
            metrics: names of the closed list: accuracy, cross_entropy, perplexity, squared_error.
            batch_size: samples a batch.

        Returns:
            Metric to value.
        """
        live = self._open()
        live.verify_settled("run.evaluate")
        return measure(live.recorder, live.home, net, dataset, metrics=metrics, batch_size=batch_size)

    def watch(self, begin: Callable[[RunDirectory], Observer]) -> None:
        """Turn a new run into an observed one; `assay.observe` calls this.

        Args:
            begin: from the run's folder to what watches the loop.

        Raises:
            ObserveRefused: the run was begun already.
        """
        begun = self._live or self._observer or self._loader or self._initialiser or self._bodies
        if begun or self._run.rows or self._run.has_object("profile.bin"):
            raise ObserveRefused(
                f"{self.path} was begun already",
                expected="a new run, and assay.observe before anything else",
                next_step="observe into another folder; a recorded run needs no observer",
            )
        torch.set_num_threads(self._threads_before)  # nothing holds an observed loop to a profile
        self._observer = begin(self._run)

    def early_stop(self, reason: str) -> None:
        """Say why the loop is left before its intended steps; the run then ends with this as a *declared* event.

        Args:
            reason: 1 to 1024 printable characters of ASCII, such as "held-out loss no better for 3 epochs".

        Raises:
            ReasonUnfit: another text.
        """
        verify_reason(reason, "an early stop")
        self._why = reason

    def finish(self, *, reason: str | None = None) -> ClosingRecord | ObservedEnd:
        """End the run: last row, last checkpoint, closing record, the recorder's signature.

        Args:
            reason: "completed", "early-stop" or "interrupted"; None: found from the intended steps. With fewer steps
                than were intended the run says so itself, with the reason given to `early_stop`.
        """
        if self._observer is not None:
            if self._why:
                self.log(early_stop=self._why)
            end = self._observer.finish(reason=reason or "completed", key=self._key)
            self._run.close()
            return end
        closing = self._open().finish(reason, self._why)
        sign_closing(self._run, closing, self._key)
        self._run.close()
        return closing

    def sync(self) -> None:
        """Wait until the rows and checkpoints that were begun are on the disk.

        The last step's own row is begun by the next step, by `finish` or by `close`; its checkpoint by the first two.

        Raises:
            StorageError: the disk failed, now or earlier.
        """
        self._checkpoints.wait()
        self._run.steps.sync()

    def close(self) -> None:
        """Let go of the run without ending it; the same script resumes it.

        The row of the last step is written. Its checkpoint is not: schedulers may not have moved on yet.

        Raises:
            ResumeDiffers: the last step of a resumed run is another one than before, and nothing has said so yet.
            StorageError: the disk failed, now or earlier.
        """
        try:
            if self._live is not None and self._letting_go.alive and not self._live.recorder.has_differed:
                self._live.recorder.settle()
        finally:
            self._letting_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def _let_go(checkpoints: CheckpointWriter, run: RunDirectory) -> None:
    """Write what was begun and give the lock back: at `close`, at the end of the process, when nobody has the run."""
    try:
        checkpoints.wait()
    finally:
        run.close()

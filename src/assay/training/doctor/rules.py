"""The rules: each looks at a script that was read and returns the blockers that it sees.

A rule fires only on what it can name with a line and a cure. A clean script gives none: whoever doubts, runs it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Final

from assay.training.doctor.blockers import REPLAYABLE, REPRODUCIBLE, RESUME_SAFE, Blocker, sort_blockers
from assay.training.doctor.reading import Call, Script

_SEEDING: Final = (
    "torch.manual_seed", "torch.random.manual_seed", "assay.start", "assay.record", "lightning.seed_everything",
    "pytorch_lightning.seed_everything", "lightning.pytorch.seed_everything", "transformers.set_seed",
    "accelerate.utils.set_seed",
)  # fmt: skip
_SEEDS_NUMPY: Final = ("numpy.random.seed",)
_SEEDS_PYTHON: Final = ("random.seed",)
_CLOCKS: Final = (
    "time.time",
    "time.time_ns",
    "time.perf_counter",
    "time.monotonic",
    "datetime.datetime.now",
    "os.getpid",
)
_NO_DRAW: Final = (
    "numpy.random.seed", "numpy.random.default_rng", "numpy.random.Generator", "numpy.random.RandomState",
    "numpy.random.get_state", "numpy.random.set_state", "numpy.random.SeedSequence", "numpy.random.PCG64",
    "numpy.random.Philox",
)  # fmt: skip
_NO_PYTHON_DRAW: Final = ("random.seed", "random.Random", "random.getstate", "random.setstate", "random.SystemRandom")
_INSIDE: Final = ("forward", "step")


def find_blockers(script: Script) -> list[Blocker]:
    """Return what the rules see in a script, by goal and line."""
    return sort_blockers([blocker for rule in RULES for blocker in rule(script)])


def _make(script: Script, goal: str, code: str, line: int, reason: str, cure: str) -> Blocker:
    return Blocker(goal, code, script.path, line, reason, cure)


def find_unseeded(script: Script) -> list[Blocker]:
    """Draws of a generator that the script never seeds, or that it seeds later."""
    found = []
    sources = (
        ("torch", _SEEDING, _list_torch_draws(script), "torch.manual_seed(0) before the model is made"),
        ("NumPy", _SEEDS_NUMPY, _list_draws(script, "numpy.random.", _NO_DRAW), "np.random.seed(0), or default_rng(0)"),
        ("Python", _SEEDS_PYTHON, _list_draws(script, "random.", _NO_PYTHON_DRAW), "random.seed(0) at the top"),
    )
    helpers = any("seed" in call.name.rpartition(".")[2] for call in script.calls if "." not in call.name)
    for name, seeds, draws, cure in sources:
        if helpers:
            continue
        seedings = script.find(*seeds)
        early = [draw for draw in draws if not seedings or _comes_before(script, draw, seedings)]
        if early:
            how = "before it seeds it" if seedings else "which the script does not seed"
            reason = f"draws from {name}'s generator, {how}"
            found.append(_make(script, REPRODUCIBLE, f"unseeded-{name.lower()}", early[0].line, reason, cure))
    return found


def _comes_before(script: Script, draw: Call, seedings: Sequence[Call]) -> bool:
    """Return whether a draw certainly comes first: in the function of all seedings, above them, on no condition."""
    if any(seeding.function is not draw.function or seeding.line <= draw.line for seeding in seedings):
        return False
    return not any(isinstance(node, (ast.If, ast.IfExp, ast.Lambda)) for node in script.iterate_above(draw.node))


def _list_torch_draws(script: Script) -> list[Call]:
    """Return what draws from torch's generator: layers, shuffled loaders, random tensors."""
    draws = script.find(
        "torch.rand", "torch.randn", "torch.randint", "torch.randperm", "torch.bernoulli", "torch.normal"
    )
    layers = {"Linear", "Conv1d", "Conv2d", "Conv3d", "Embedding", "LSTM", "GRU", "RNN", "Transformer", "Bilinear"}
    draws += [call for call in script.calls if call.name.startswith("torch.nn.") and call.name[9:] in layers]
    loaders = [call for call in script.find("torch.utils.data.DataLoader") if call.has_true("shuffle")]
    draws += [call for call in loaders if call.get_keyword("generator") is None]
    return sorted(
        (call for call in draws if call.get_keyword("generator") is None), key=lambda call: (call.line, call.name)
    )


def _list_draws(script: Script, prefix: str, harmless: tuple[str, ...]) -> list[Call]:
    return [
        call for call in script.find(prefix) if call.name not in harmless and call.name.count(".") == prefix.count(".")
    ]


def find_seeds_of_the_moment(script: Script) -> list[Blocker]:
    """Seeds that are others every time: the clock, the operating system, none at all."""
    found = []
    cure = "seed with a number that is written down"
    for call in script.calls:
        name = call.name
        takes_seed = name in (*_SEEDING, *_SEEDS_NUMPY, *_SEEDS_PYTHON) or name.endswith(".manual_seed")
        of_clock = [inner for inner in ast.walk(call.node) if isinstance(inner, ast.Call) and inner is not call.node]
        if takes_seed and any(script.resolve(inner.func) in _CLOCKS for inner in of_clock):
            found.append(_make(script, REPRODUCIBLE, "seed-from-clock", call.line, "seeds with the clock", cure))
        elif name in {"torch.seed", "torch.random.seed", "os.urandom", "random.SystemRandom", "uuid.uuid4"}:
            found.append(_make(script, REPRODUCIBLE, "seed-from-system", call.line, f"calls {name}", cure))
        elif name in {"numpy.random.default_rng", "numpy.random.seed", "random.seed"} and not _has_arguments(call):
            reason = f"calls {name}() without a seed: it is another one every time"
            found.append(_make(script, REPRODUCIBLE, "seed-missing", call.line, reason, cure))
        elif name.startswith("secrets."):
            found.append(_make(script, REPRODUCIBLE, "seed-from-system", call.line, f"draws from {name}", cure))
    return found


def _has_arguments(call: Call) -> bool:
    given = [
        argument for argument in call.node.args if not (isinstance(argument, ast.Constant) and argument.value is None)
    ]
    return bool(given or call.node.keywords)


def find_worker_draws(script: Script) -> list[Blocker]:
    """Draws in a data set whose loader has workers that are not seeded one by one."""
    loaders = [call for call in script.find("torch.utils.data.DataLoader") if _has_workers(call)]
    if not loaders or any(loader.get_keyword("worker_init_fn") is not None for loader in loaders):
        return []
    draws = [call for call in script.find("numpy.random.", "random.") if call.kind == "getitem"]
    reason = "draws in a worker of the DataLoader: which worker serves which sample decides what is drawn"
    cure = "draw with torch in the step, or pass worker_init_fn and seed each worker"
    return [_make(script, REPRODUCIBLE, "worker-draws", call.line, reason, cure) for call in draws[:1]]


def _has_workers(call: Call) -> bool:
    value = call.get_keyword("num_workers")
    return value is not None and not (isinstance(value, ast.Constant) and value.value == 0)


def find_unordered(script: Script) -> list[Blocker]:
    """Orders that the file system or the hash seed decides."""
    found = []
    listings = script.find("os.listdir", "os.scandir", "glob.glob", "glob.iglob", ".iterdir", ".glob", ".rglob")
    for call in listings:
        if not _is_inside_sorted(script, call.node):
            reason = "lists files in the order of the file system, which differs between machines"
            found.append(_make(script, REPRODUCIBLE, "unsorted-files", call.line, reason, "sorted(...) around it"))
    for node in ast.walk(script.tree):
        iterated = node.iter if isinstance(node, ast.For | ast.comprehension) else None
        listed = node.args[0] if isinstance(node, ast.Call) and _is_listing(script, node) else None
        for value in (iterated, listed):
            if value is not None and _is_set(script, value) and not _is_inside_sorted(script, value):
                reason = "goes through a set: with strings its order is another one in every process"
                line = value.lineno
                found.append(_make(script, REPRODUCIBLE, "set-order", line, reason, "sorted(...) around the set"))
    for call in script.find("hash"):
        reason = "calls hash(): for strings it is another one in every process"
        found.append(_make(script, REPRODUCIBLE, "hash", call.line, reason, "hashlib.sha256, or zlib.crc32"))
    return found


def _is_listing(script: Script, node: ast.Call) -> bool:
    return script.resolve(node.func) in {"list", "tuple", "enumerate"} and len(node.args) == 1


def _is_set(script: Script, node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return script.resolve(node.func) in {"set", "frozenset"}
    return isinstance(node, ast.Set | ast.SetComp)


def _is_inside_sorted(script: Script, node: ast.AST) -> bool:
    for above in script.iterate_above(node):
        if isinstance(above, ast.Call) and script.resolve(above.func) in {
            "sorted",
            "len",
            "sum",
            "max",
            "min",
            "any",
            "all",
        }:
            return True
        if isinstance(above, ast.stmt):
            return isinstance(above, ast.Assign) and _is_sorted_later(script, above)
    return False


def _is_sorted_later(script: Script, assignment: ast.Assign) -> bool:
    """Return whether the name that a list is assigned to is sorted in place, or put through `sorted`."""
    names = {target.id for target in assignment.targets if isinstance(target, ast.Name)}
    for call in script.calls:
        func = call.node.func
        if isinstance(func, ast.Attribute) and func.attr == "sort" and isinstance(func.value, ast.Name):
            if func.value.id in names:
                return True
        elif call.name == "sorted" and any(isinstance(a, ast.Name) and a.id in names for a in call.node.args):
            return True
    return False


def find_switches(script: Script) -> list[Blocker]:
    """Settings that let the library choose other code from run to run."""
    found = []
    for node in ast.walk(script.tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant) or node.value.value is not True:
            continue
        for target in node.targets:
            if script.resolve(target) == "torch.backends.cudnn.benchmark":
                reason = "lets cuDNN choose the algorithm that is fastest just now"
                cure = "torch.backends.cudnn.benchmark = False"
                found.append(_make(script, REPRODUCIBLE, "cudnn-benchmark", node.lineno, reason, cure))
    for call in script.find("torch.set_num_threads"):
        if any(
            script.resolve(inner.func) in {"os.cpu_count", "multiprocessing.cpu_count"} for inner in _calls_in(call)
        ):
            reason = "takes as many threads as the machine has cores: other numbers give other bits"
            cure = "torch.set_num_threads(1), or a number that is written down"
            found.append(_make(script, REPRODUCIBLE, "threads", call.line, reason, cure))
    return found


def _calls_in(call: Call) -> list[ast.Call]:
    return [node for node in ast.walk(call.node) if isinstance(node, ast.Call) and node is not call.node]


def find_lost_state(script: Script) -> list[Blocker]:
    """Checkpoints of a script that resumes by hand and lack what the next step needs."""
    saves = script.find("torch.save")
    if script.uses_assay or not saves or not script.find("torch.load"):
        return []
    saved = " ".join(ast.unparse(call.node) for call in saves) + _unparse_saved(script, saves)
    found = []
    schedulers = script.find("torch.optim.lr_scheduler.")
    needs = (
        ("optimizer", _list_optimizers(script), ("optim", "opt."), "the optimizer's state", "optimizer.state_dict()"),
        ("scheduler", schedulers, ("sched",), "the scheduler's state", "scheduler.state_dict()"),
        (
            "generators",
            _list_torch_draws(script),
            ("rng_state", "generator"),
            "the generators",
            "torch.get_rng_state()",
        ),
    )
    for code, used, marks, what, cure in needs:
        if used and not any(mark in saved for mark in marks):
            reason = f"saves a checkpoint without {what}: a resumed run goes another way"
            found.append(_make(script, RESUME_SAFE, f"lost-{code}", saves[0].line, reason, f"save and load {cure} too"))
    return [*found, *_find_restart(script)]


def _unparse_saved(script: Script, saves: list[Call]) -> str:
    """Return the text of the dictionaries that names given to `torch.save` stand for."""
    names = {argument.id for call in saves for argument in call.node.args if isinstance(argument, ast.Name)}
    return "".join(
        ast.unparse(node)
        for node in ast.walk(script.tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id in names for target in node.targets)
    )


def _list_optimizers(script: Script) -> list[Call]:
    return [call for call in script.find("torch.optim.") if call.name.count(".") == 2 and call.name[12:13].isupper()]


def _find_restart(script: Script) -> list[Blocker]:
    """A loop over epochs that begins at 0 although the script loads a checkpoint."""
    for node in ast.walk(script.tree):
        if (
            not isinstance(node, ast.For)
            or not isinstance(node.iter, ast.Call)
            or not isinstance(node.target, ast.Name)
        ):
            continue
        if script.resolve(node.iter.func) == "range" and len(node.iter.args) == 1 and "epoch" in node.target.id:
            reason = "begins at epoch 0 again after a resume: the first epochs are trained twice"
            return [_make(script, RESUME_SAFE, "restarted-epochs", node.lineno, reason, "range(first_epoch, epochs)")]
    return []


_REFUSED: Final = {
    "torch.compile": ("compiles the model: its operators cannot be seen", "record without torch.compile"),
    "torch.nn.DataParallel": ("wraps the model for several devices", "record on one device"),
    "torch.nn.parallel.DistributedDataParallel": ("wraps the model for several processes", "record in one process"),
    "torch.cuda.amp.GradScaler": ("scales gradients by a factor that depends on values", "use bfloat16 autocast"),
    "torch.amp.GradScaler": ("scales gradients by a factor that depends on values", "use bfloat16 autocast"),
    "torch.optim.LBFGS": ("calls the model a number of times that depends on values", "use another optimizer"),
}


def find_refused(script: Script) -> list[Blocker]:
    """Parts of PyTorch that a recorded step cannot have."""
    return [
        _make(script, REPLAYABLE, "refused-part", call.line, *_REFUSED[call.name])
        for call in script.calls
        if call.name in _REFUSED
    ]


def find_hidden_inputs(script: Script) -> list[Blocker]:
    """What a step or a forward pass reads that no graph holds: values, clocks, other generators."""
    found = []
    for call in script.calls:
        if call.kind not in _INSIDE:
            continue
        if call.name.endswith((".item", ".tolist", ".numpy")):
            reason = f"reads the value of a tensor inside the {call.kind} ({call.name.rpartition('.')[2]})"
            cure = "return the tensor and read it outside, or use torch.where"
            found.append(_make(script, REPLAYABLE, "value-read", call.line, reason, cure))
        elif call.name.startswith(("numpy.random.", "random.", "secrets.")):
            reason = f"draws random numbers of another library inside the {call.kind}"
            found.append(_make(script, REPLAYABLE, "foreign-draws", call.line, reason, "draw with torch operators"))
        elif call.name in _CLOCKS:
            cure = "read the clock outside"
            found.append(_make(script, REPLAYABLE, "clock", call.line, f"reads a clock inside the {call.kind}", cure))
        elif call.name.endswith(".manual_seed"):
            cure = "seed nothing in the step"
            found.append(_make(script, REPLAYABLE, "reseeded", call.line, f"seeds inside the {call.kind}", cure))
    return found


def find_random_transforms(script: Script) -> list[Blocker]:
    """Data sets that return something else every time a sample is read."""
    torch_draws = ("torch.rand", "torch.randn", "torch.randint", "torch.randperm", "torch.bernoulli")
    draws = [call for call in script.find(*torch_draws, "numpy.random.", "random.") if call.kind == "getitem"]
    reason = "the data set draws random numbers: a sample is other bytes every time it is read"
    cure = "move the random transform into the step, as torch operations"
    return [_make(script, REPLAYABLE, "random-transform", call.line, reason, cure) for call in draws]


Rule = Callable[[Script], list[Blocker]]

RULES: Final[tuple[Rule, ...]] = (
    find_unseeded,
    find_seeds_of_the_moment,
    find_worker_draws,
    find_unordered,
    find_switches,
    find_lost_state,
    find_refused,
    find_hidden_inputs,
    find_random_transforms,
)
"""All rules, in the order of their goals."""

"""What a step can reach in Python: its code, the functions that it calls, modules, settings, objects.

The walk starts at the step, the models and the optimizers. It follows names read by code (globals, closures,
defaults), attributes of modules, and those attributes of plain objects and methods whose names occur in code that was
reached. It does not enter torch, numpy, the standard library or assay. Code is *certain* if it is the step itself, a
function that certain code reads by name, a module's `forward`, or a method that certain code calls on `self`. Only
certain code is refused for what it merely mentions; other code gives notes: what it does is seen while a step is
recorded (`watches`).

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import functools
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from assay.training.pytorch import code_reading, forbidden, scopes
from assay.training.pytorch.forbidden import StepRefused
from assay.training.pytorch.reached import Reachable, Where
from assay.training.pytorch.reached_code import CodeReader, Names, is_rate
from assay.training.pytorch.scopes import Scope
from assay.training.pytorch.unreadable import Unreadable

MAX_DEPTH, MAX_ITEMS, MAX_SCOPES, MAX_ARRAY_BYTES = 6, 4096, 20_000, 65536

_BASE_MODULE = frozenset(nn.Module().__dict__)
_HOOKS = tuple(name for name in nn.Module().__dict__ if name.endswith("_hooks") and "state_dict" not in name)
_PLAIN = (
    bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, np.generic, range,
    Unreadable,
)  # fmt: skip
_MEMOISED = type(functools.lru_cache(bool))
_CALLED_BY_LANGUAGE = frozenset(
    {"__call__", "__getitem__", "__len__", "__iter__", "__enter__", "__exit__", "__getattr__"}
)


class Walk:
    """One walk over everything that a step can reach.

    Args:
        models: the modules whose tensors are the state.
        optimizers: the optimizers of the step.
        executed: what the step ran when it was tried: functions of installed packages that are not among it are not
            followed. Which of them run depends on what those that ran have read. None: all are followed.
    """

    def __init__(
        self,
        models: Iterable[nn.Module],
        optimizers: Iterable[torch.optim.Optimizer],
        executed: frozenset[CodeType] | None = None,
    ) -> None:
        self._executed = executed
        self.found = Reachable()
        self.state = {id(t) for m in models for t in (*m.parameters(), *m.buffers())}
        self.state_modules = {id(part) for model in models for part in model.modules()}
        for optimizer in optimizers:
            self.state |= {id(p) for group in optimizer.param_groups for p in group["params"]}
            self.state |= {id(t) for slots in optimizer.state.values() for t in slots.values()}
        self._seen: dict[object, Any] = {}  # keeps what was seen alive: an id is used once
        self._names = Names()
        self._code = CodeReader(self.found, self._names, self._visit, self._object)
        self._objects: list[tuple[dict[str, Any], str]] = []
        self._doubtful: list[tuple[str, str, str]] = []  # name, what is wrong, cure
        self._attribute: str | None = None  # of the value whose visit begins

    def run(self, roots: Iterable[tuple[str, Any]]) -> Reachable:
        """Walk from the named roots and return what was found.

        Raises:
            StepRefused: the step can reach what no graph can repeat.
        """
        for label, value in roots:
            code = getattr(value, "__code__", None)
            where = Where(code.co_filename, code.co_firstlineno) if code else Where(f"<{label}>", 0)
            self._visit(value, label, where, 0)
        while self._names.work:
            self._names.work.popleft()()
        self._code.guard_globals()
        self._guard_objects()
        self._code.guard_settings()
        for name, reason, cure in self._doubtful:
            if name in self._names.known:
                raise StepRefused(reason, next_step=cure)
        return self.found

    # -- values -------------------------------------------------------------------------------------------------------

    def _visit(self, value: Any, label: str, where: Where, depth: int, attribute: str | None = None) -> None:
        """Guard what `value` holds; `attribute`: the name under which an object or container has it."""
        if isinstance(value, _PLAIN) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if len(self.found.scopes) > MAX_SCOPES:
            raise StepRefused(
                f"{where}: the step reaches more than {MAX_SCOPES} Python objects (at {label})",
                next_step="let the step read fewer objects: pass values as arguments or as attributes of the model",
            )
        objection = forbidden.get_objection(value)
        if objection is None and forbidden.is_hidden_iterator(value):
            objection = f"uses an iterator ({type(value).__name__})", "take the next element outside the step"
        if objection is not None:
            if forbidden.is_installed(where.file) and forbidden.is_often_mentioned(value):
                where = replace(where, certain=False)  # packages mention more than they do
            self._object(label, where, objection, attribute)
            return
        for kinds, visit in self._VISITORS:
            if visit is Walk._visit_container and forbidden.computes_its_elements(value):
                self._visit_object(value, label, where, depth)
                return
            if isinstance(value, kinds):
                self._attribute = attribute
                visit(self, value, label, where, depth)
                return
        if not forbidden.is_foreign(type(value).__module__) or forbidden.has_open_attributes(value):
            self._visit_object(value, label, where, depth)

    def _object(self, label: str, where: Where, objection: tuple[str, str], attribute: str | None) -> None:
        if attribute is not None:
            self._doubtful.append((attribute, f"{where}: the step {objection[0]} ({label})", objection[1]))
        elif where.certain:
            raise StepRefused(f"{where}: the step {objection[0]} ({label})", next_step=objection[1])
        else:
            self.found.notes.append(f"{where}: code that the step may call {objection[0]} ({label})")

    def _visit_tensor(self, value: torch.Tensor, label: str, where: Where, _depth: int) -> None:
        self._visit_hooks(value, label, ("_backward_hooks", "_post_accumulate_grad_hooks"), where)
        if value.is_inference():
            self.found.notes.append(f"{label}: a tensor made in inference mode is not watched for writes")
        elif id(value) not in self.state:
            self.found.tensors.append((label, value))

    def _visit_array(self, value: np.ndarray, label: str, where: Where, _depth: int) -> None:
        if value.nbytes <= MAX_ARRAY_BYTES and not value.dtype.hasobject:
            self.found.arrays.append((label, value))
        else:
            what = f"reads a numpy array of {value.nbytes} bytes, which is not watched"
            self._object(label, where, (what, forbidden.UNWATCHED_CURE), self._attribute)

    def _visit_reference(self, value: weakref.ref[Any], label: str, where: Where, depth: int) -> None:
        self._visit(value(), f"{label}()", where, depth)

    def _visit_context(self, value: ContextVar[Any], label: str, where: Where, depth: int) -> None:
        self.found.contexts.append(value)
        self.found.scopes.append(scopes.scope_of_context(value, label))
        self._visit(value.get(None), f"{label}.get()", where, depth + 1)

    def _visit_module(self, module: nn.Module, label: str, where: Where, depth: int) -> None:
        self.found.modules.append((label + ".{}", module))
        self.found.scopes.append(scopes.scope_of_mapping(module.__dict__, label + ".{}"))
        self._add(module._modules, label + ".{}")
        self._add(module._parameters, label + ".{}")
        if module._buffers and id(module) in self.state_modules:
            self.found.scopes.append(scopes.scope_of_kinds(module._buffers, label + ".{}"))
        else:
            self._add(module._buffers, label + ".{}")
        self._visit_hooks(module, label, _HOOKS, where)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                self.found.parameters.append((f"{label}.{name}", parameter))
                self._visit(parameter, f"{label}.{name}", where, depth)
        for name, buffer in module._buffers.items():
            self._visit(buffer, f"{label}.{name}", where, depth)
        for name, part in module._modules.items():
            self._visit(part, f"{label}.{name}", where, 0)
        for name, value in module.__dict__.items():
            if name not in _BASE_MODULE:
                self._visit(value, f"{label}.{name}", where, depth + 1, name)
        self._visit_class(type(module), where, depth)

    def _visit_hooks(self, owner: Any, label: str, names: Iterable[str], where: Where) -> None:
        for name in names:
            hooks = getattr(owner, name, None)
            if hooks is not None:
                self._add(hooks, f"{label}.{name}[{{}}]")
                for hook in hooks.values():
                    self._visit(hook, f"{label}.{name}", where, 0)

    def _visit_optimizer(self, optimizer: torch.optim.Optimizer, label: str, where: Where, depth: int) -> None:
        self.found.optimizers.append((label, optimizer))
        self._visit_hooks(optimizer, label, ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"), where)
        self._visit(vars(optimizer).get("step"), f"{label}.step", where, 0)
        if not forbidden.is_foreign(type(optimizer).__module__):  # its own numbers reach no stand-in when they change
            self._visit_class(type(optimizer), where, depth)
            self._objects.append((vars(optimizer), label + ".{}"))
            for name, value in vars(optimizer).items():
                if isinstance(value, FunctionType):
                    self._visit(value, f"{label}.{name}", where, 0)
        self._add(optimizer.param_groups, label + ".param_groups[{}]")
        for index, group in enumerate(optimizer.param_groups):
            place = f"{label}.param_groups[{index}]"
            self.found.scopes.append(scopes.scope_of_items(group["params"], place + "['params'][{}]"))
            fixed = [name for name, value in group.items() if name == "params" or not is_rate(value)]
            self.found.scopes.append(scopes.scope_of_keys(group, fixed, place + "['{}']"))

    def _visit_container(self, value: Any, label: str, where: Where, depth: int) -> None:
        if len(value) > MAX_ITEMS or depth > MAX_DEPTH:
            what = f"reads a {type(value).__name__} of {len(value)} elements, {depth} levels deep, that is not watched"
            self._object(
                label, where, (what, forbidden.UNWATCHED_CURE), self._attribute if depth <= MAX_DEPTH else None
            )
            self.found.scopes.append(Scope(label + ": length", lambda: (len(value),), lambda: [("length", len(value))]))
            return
        if isinstance(value, Mapping):
            self._add(value, label + "[{}]")
            if value:
                self.found.scopes.append(scopes.scope_of_items(value.keys(), label + " key {}"))
            for name, item in value.items():
                self._visit(item, f"{label}[{name!r}]", where, depth + 1, str(name))
            return
        if not isinstance(value, (tuple, frozenset)):
            self._add(value, label + "[{}]")
        for place, item in enumerate(value):
            self._visit(item, f"{label}[{place}]", where, depth + 1, label.rpartition(".")[2])

    def _visit_python_module(self, value: ModuleType, label: str, where: Where, depth: int) -> None:
        """Guard a module of the user's that stands in an attribute or a container, as settings often do."""
        file = getattr(value, "__file__", None)
        if not forbidden.is_foreign(value.__name__) and not (file and forbidden.is_installed(file)):
            self._visit_attributes(vars(value), label, where, depth)

    def _visit_attributes(self, own: dict[str, Any], label: str, where: Where, depth: int) -> None:
        """Visit those of the attributes whose names occur in code, now or later."""
        self._objects.append((own, label + ".{}"))
        for name, item in own.items():
            visit = functools.partial(self._visit, item, f"{label}.{name}", where, depth + 2, name)
            if name in self._names.known:
                visit()
            else:
                self._names.wait(name, visit)

    def _visit_object(self, value: Any, label: str, where: Where, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.found.notes.append(f"{label}: too deep to be watched")
            return
        own = getattr(value, "__dict__", None)
        is_closed = forbidden.reads_its_own(value)  # its own code is not followed: it may read anything
        if own is not None and is_closed:
            self._add(own, label + ".{}")
            for name, item in own.items():
                self._visit(item, f"{label}.{name}", where, depth + 2, name)
        elif own is not None:
            self._visit_attributes(own, label, where, depth)
        slots = [name for kind in type(value).__mro__ for name in code_reading.get_slots(kind) if hasattr(value, name)]
        if slots:
            self.found.scopes.append(scopes.scope_of_attributes(value, slots, label + ".{}"))
            for name in slots:
                self._visit(getattr(value, name), f"{label}.{name}", where, depth + 2, name)
        self._visit_class(type(value), where, depth)

    def _add(self, container: Any, label: str) -> None:
        if not container:
            self.found.empty.append((label, container))
        elif isinstance(container, Mapping):
            self.found.scopes.append(scopes.scope_of_mapping(container, label))
        else:
            self.found.scopes.append(scopes.scope_of_items(container, label))

    # -- classes and code ---------------------------------------------------------------------------------------------

    def _visit_named_class(self, kind: type, label: str, where: Where, depth: int) -> None:
        self._visit_class(kind, where, depth)
        if not forbidden.is_foreign(kind.__module__) and isinstance(kind.__dict__.get("__init__"), FunctionType):
            self._visit(kind.__dict__["__init__"], f"{label}.__init__", where, depth)

    def _visit_class(self, kind: type, where: Where, depth: int) -> None:
        for base in kind.__mro__:
            if forbidden.is_foreign(base.__module__) or (id(base), "class") in self._seen:
                continue
            self._seen[(id(base), "class")] = base
            self.found.scopes.append(scopes.scope_of_mapping(base.__dict__, f"{base.__qualname__}.{{}}"))
            for name, value in base.__dict__.items():
                method = code_reading.unwrap(value)
                if method is None:
                    if not name.startswith("__"):
                        self._visit(value, f"{base.__qualname__}.{name}", where, depth + 1, name)
                elif name in self._names.known or name in self._names.of_self or name in _CALLED_BY_LANGUAGE:
                    self._visit_method(method, f"{base.__qualname__}.{name}", name)
                else:
                    visit = functools.partial(self._visit_method, method, f"{base.__qualname__}.{name}", name)
                    self._names.wait(name, visit)

    def _visit_method(self, method: FunctionType, label: str, name: str) -> None:
        code = method.__code__
        certain = name in self._names.of_self
        self._visit(method, label, Where(code.co_filename, code.co_firstlineno, certain), 0)

    def _visit_callable(self, value: Any, label: str, where: Where, depth: int) -> None:
        if isinstance(value, MethodType):
            self._visit(value.__func__, label, where, depth)
            self._visit(value.__self__, f"{label}.__self__", where, depth)
        elif isinstance(value, _MEMOISED):
            self.found.scopes.append(scopes.scope_of_memory(value, label))
            self._visit(value.__wrapped__, label, where, depth)
        elif isinstance(value, functools.partial):
            self._visit(value.func, label, where, depth)
            self._visit(value.args, f"{label}.args", where, depth)
            self._visit(value.keywords, f"{label}.keywords", where, depth)

    def _visit_function(self, function: FunctionType, label: str, where: Where, _depth: int) -> None:
        if forbidden.is_foreign(function.__module__) or forbidden.is_own_code(function.__code__):
            return
        is_idle = self._executed is not None and function.__code__ not in self._executed
        if is_idle and forbidden.is_installed(function.__code__.co_filename):
            return
        names = ("__code__", "__defaults__", "__kwdefaults__")
        self.found.scopes.append(scopes.scope_of_attributes(function, names, f"{label}.{{}}"))
        self._add(function.__dict__, f"{label}.{{}}")
        own = Where(function.__code__.co_filename, function.__code__.co_firstlineno, where.certain)
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._visit(value, f"default of {label}", own, 0)
        cells = list(function.__closure__ or ())
        closure = dict(zip(function.__code__.co_freevars, map(scopes._read_cell, cells), strict=True))
        if cells:
            file = function.__code__.co_filename
            self.found.scopes.append(scopes.scope_of_cells(cells, list(closure), f"closure variable {{}} ({file})"))
            for name, value in closure.items():
                self._visit(value, name, own, 0)
        for code in code_reading.iterate_code(function.__code__):
            self._code.read(code, function.__globals__, closure, where.certain)

    def _guard_objects(self) -> None:
        """Guard the attributes of plain objects whose names occur in code that was reached."""
        for own, label in self._objects:
            present = [name for name in own if name in self._names.known or self._names.read_anything()]
            if present:
                self.found.scopes.append(scopes.scope_of_keys(own, present, label))
            self.found.absent.append((own, frozenset(self._names.known.difference(present)), label))

    _VISITORS: tuple[tuple[Any, Any], ...] = (
        (torch.Tensor, _visit_tensor),
        (ContextVar, _visit_context),
        (weakref.ref, _visit_reference),
        (ModuleType, _visit_python_module),
        (nn.Module, _visit_module),
        (torch.optim.Optimizer, _visit_optimizer),
        (np.ndarray, _visit_array),
        (FunctionType, _visit_function),
        ((MethodType, functools.partial, _MEMOISED), _visit_callable),
        (type, _visit_named_class),
        ((Mapping, list, tuple, set, frozenset, deque), _visit_container),
    )

"""A pretend accelerator: tensors of another device than the CPU that lie in the processor's memory.

PyTorch keeps one dispatch key for devices that it does not know. Here every operator of that key is done by the CPU's
kernel on the same memory, seen as a tensor of the CPU: DLPack hands memory from one device to another without a copy,
and the device in its capsule is overwritten. So a run on this device has the bits of a run on the CPU, and everything
that mixes up the two devices fails as it would on a real one.

It stands for a device in tests of what happens around the arithmetic. Of arithmetic on a real device it says nothing.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
DEVICE = torch.device("cpu")  # replaced below, once PyTorch knows the name

SKEWED: set[str] = set()
"""Names of operators that give other bits here, as kernels of a real device may."""

UNREPEATABLE: set[str] = set()
"""Names of operators that are refused here in PyTorch's deterministic mode, as some are on CUDA."""

_CPU, _OTHER = 1, 12  # kDLCPU and kDLExtDev of DLPack
_CPU_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)

_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


class _Header(ctypes.Structure):
    """How a DLPack tensor begins."""

    _fields_ = (("data", ctypes.c_void_p), ("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _Module:
    """What `torch.get_device_module` gives."""

    def is_initialized(self) -> bool:
        return True

    def _lazy_init(self) -> None:
        """PyTorch looks for this at every call until it was there once."""

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def device_count(self) -> int:
        return 1

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _relabel(tensor: torch.Tensor, kind: int) -> torch.Tensor:
    """Return a tensor on another device over the same memory, with the same shape and strides."""
    capsule = torch._C._to_dlpack(tensor.detach())
    header = _Header.from_address(_get_pointer(capsule, b"dltensor"))
    header.kind, header.index = kind, 0
    return torch._C._from_dlpack(capsule)


def to_cpu(value: Any) -> Any:
    """Return arguments with the tensors of the pretend device seen as tensors of the CPU, and its name replaced."""
    if isinstance(value, torch.Tensor):
        return _relabel(value, _CPU) if value.device.type == NAME else value
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == NAME else value
    if isinstance(value, (list, tuple)):
        return type(value)(to_cpu(item) for item in value)
    if isinstance(value, dict):
        return {name: to_cpu(item) for name, item in value.items()}
    return value


def to_pretend(value: Any) -> Any:
    """Return results as tensors of the pretend device."""
    if isinstance(value, torch.Tensor):
        return _relabel(value, _OTHER)
    if isinstance(value, (list, tuple)):
        return type(value)(to_pretend(item) for item in value)
    return value


def _iterate_tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for item in value for tensor in _iterate_tensors(item)] if isinstance(value, (list, tuple)) else []


def _run_on_cpu(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Do any operator by the CPU's kernel; what is written in place is written into the same memory."""
    strangers = [t for t in _iterate_tensors([*args, *kwargs.values()]) if t.device.type != NAME and t.dim() > 0]
    if strangers:
        raise RuntimeError(f"Expected all tensors to be on the same device: {operator}")
    if operator._opname in UNREPEATABLE and torch.are_deterministic_algorithms_enabled():
        raise RuntimeError(f"{operator._opname} does not have a deterministic implementation, but you set ...")
    empty = {name: value for name, value in kwargs.items() if _is_output(operator, name) and not value.numel()}
    fresh = {name: torch.empty(0, dtype=value.dtype) for name, value in empty.items()}
    result = operator(*to_cpu(args), **to_cpu(kwargs) | fresh)
    for name, output in empty.items():
        output.set_(to_pretend(fresh[name]))  # it has other memory now
    returns = operator._schema.returns
    if not any(each.alias_info is not None and each.alias_info.is_write for each in returns):
        return to_pretend(result)
    named = {argument.name: value for argument, value in zip(operator._schema.arguments, args, strict=False)} | kwargs
    written = [
        named[argument.name]
        for argument in operator._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write and argument.name in named
    ]
    return tuple(written) if len(returns) > 1 else written[0]


def _is_output(operator: Any, name: str) -> bool:
    return any(argument.name == name and argument.is_out for argument in operator._schema.arguments)


def _run_cpu_kernel(operator: Any) -> Any:
    """Return what runs the kernel of the CPU on the tensor itself: views keep its memory and its device."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return operator.redispatch(_CPU_KEYS, *args, **kwargs)

    return run


def _copy_between(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:  # noqa: FBT001, FBT002
    to_cpu(target).copy_(to_cpu(source))
    return target


def _add_quotients(targets: Any, tensors: Any, others: Any, scalars: Any) -> None:
    """A form over lists of its own, as CUDA has them."""
    torch.ops.aten._foreach_addcdiv_.ScalarList(*(to_cpu(value) for value in (targets, tensors, others)), scalars)
    for target in targets if "_foreach_addcdiv_" in SKEWED else ():
        to_cpu(target).add_(2.0**-20)


def _convolve(*args: Any) -> torch.Tensor:
    return to_pretend(torch.ops.aten.convolution.default(*to_cpu(args)))


def _convolve_back(grad: Any, source: Any, weight: Any, stride: Any, padding: Any, dilation: Any, *rest: Any) -> Any:
    transposed, output_padding, groups, mask = rest
    sizes = [weight.shape[1] * groups if transposed else weight.shape[0]]
    found = torch.ops.aten.convolution_backward.default(
        to_cpu(grad), to_cpu(source), to_cpu(weight), sizes, stride, padding, dilation, transposed, output_padding,
        groups, mask,
    )  # fmt: skip
    return to_pretend(found)


def _empty(size: Any, **kwargs: Any) -> torch.Tensor:
    memory_format = kwargs.get("memory_format") or torch.contiguous_format
    return to_pretend(torch.empty(size, dtype=kwargs.get("dtype"), memory_format=memory_format))


def _empty_strided(size: Any, stride: Any, **kwargs: Any) -> torch.Tensor:
    return to_pretend(torch.empty_strided(size, stride, dtype=kwargs.get("dtype")))


_libraries: list[Any] = []


def install() -> None:
    """Make the device known to PyTorch, and to the profiles of Assay, in this process."""
    global DEVICE  # noqa: PLW0603 - PyTorch has the name from here on
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    DEVICE = torch.device(NAME, 0)
    others = torch.library.Library("_", "IMPL")
    others.fallback(_run_on_cpu, "PrivateUse1")
    aten = torch.library.Library("aten", "IMPL")
    kept = torch.ops.aten
    for name, operator in (
        ("as_strided", kept.as_strided.default), ("view", kept.view.default),
        ("_reshape_alias", kept._reshape_alias.default), ("unfold", kept.unfold.default),
        ("_local_scalar_dense", kept._local_scalar_dense.default),
        ("set_.source_Storage_storage_offset", kept.set_.source_Storage_storage_offset),
        ("set_.source_Storage", kept.set_.source_Storage), ("set_.source_Tensor", kept.set_.source_Tensor),
    ):  # fmt: skip
        aten.impl(name, _run_cpu_kernel(operator), "PrivateUse1")
    for name, function in (
        ("empty.memory_format", _empty), ("empty_strided", _empty_strided), ("_copy_from", _copy_between),
        ("_foreach_addcdiv_.ScalarList", _add_quotients),
        ("convolution_overrideable", _convolve), ("convolution_backward_overrideable", _convolve_back),
    ):  # fmt: skip
        aten.impl(name, function, "PrivateUse1")
    _libraries.extend((others, aten))
    _describe_to_assay()


def _describe_to_assay() -> None:
    from assay.training.pytorch import device_profile, executor

    bind = executor._Source._bind_inputs

    def bind_with_import(source: Any, *args: Any) -> None:
        source.globals["__builtins__"] = {"__import__": __import__}  # PyTorch imports to find a fallback in Python
        bind(source, *args)

    executor._Source._bind_inputs = bind_with_import  # type: ignore[method-assign]
    device_profile.KINDS[NAME] = device_profile.DeviceKind(
        describe=lambda _device: {"device.name": "Pretend", **device_profile.get_flags()},
        apply=device_profile.apply_flags,
        fixed=device_profile.KINDS["cuda"].fixed,
        verify=lambda: None,
    )

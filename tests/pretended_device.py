"""A second device where there is none: every tensor on it is in ordinary memory, and torch believes that it is elsewhere.

The device is a backend of torch's own kind (the key that torch keeps for other makers' devices), so that `x.device`,
`torch.zeros(…, device=x.device)`, `model.to(…)`, autograd with a thread of its own and the checks inside of torch are
what they are on a GPU. Its operations run on the processor, and refuse what a GPU refuses: a tensor of the one beside a
tensor of the other, a generator of random numbers of the other device, memory read as a numpy array. As on a GPU, a
tensor without axes may stay on the processor beside others in arithmetic, indices may lie there, and copies may cross.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NAME = "pretended"

_CPU = torch.device("cpu")
_AS_ON_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
# kernels that only make another tensor of the same memory, whatever the device
_VIEWS = (
    "view",
    "as_strided",
    "_reshape_alias",
    "unfold",
    "set_.source_Storage_storage_offset",
)
# operations in which tensors of two devices may meet, and which arguments then may be elsewhere
_COPIES = ("copy_", "_copy_from", "_to_copy")
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
_ONE_NUMBER = ("where", "masked_fill", "masked_fill_", "fill_", "fill", "add", "add_", "lerp", "lerp_")
_DL_CPU, _DL_OTHER = 1, 12  # of DLPack's devices

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


@functools.cache
def pretended() -> torch.device:
    """The device, which from the first call on exists for the rest of the process."""
    torch.utils.backend_registration._setup_privateuseone_for_python_backend(NAME)
    every = torch.library.Library("_", "IMPL")
    every.fallback(_on_the_processor, "PrivateUse1")
    views = torch.library.Library("aten", "IMPL")
    for name in _VIEWS:
        packet, _, overload = name.partition(".")
        views.impl(name, _same_memory(getattr(getattr(torch.ops.aten, packet), overload or "default")), "PrivateUse1")
    _LIBRARIES.extend((every, views))
    torch.UntypedStorage.clone = _storage_clone  # what copy.deepcopy makes of a buffer; torch would allocate in C++
    return torch.device(NAME, 0)


_LIBRARIES: list[torch.library.Library] = []  # what torch would unregister if nobody held it


def lives_there(value: object) -> bool:
    """Is it a tensor on the pretended device?"""
    return isinstance(value, Tensor) and value.device.type == NAME


def _storage_clone(
    self: torch.UntypedStorage, ordinary: Callable[..., Any] = torch.UntypedStorage.clone
) -> torch.UntypedStorage:
    if self.device.type != NAME:
        return ordinary(self)
    storage = torch._C._construct_storage_from_data_pointer(self.data_ptr(), _CPU, self.nbytes())
    return _lift(torch.empty(0, dtype=torch.uint8).set_(storage).clone()).untyped_storage()


def _same_memory(operation: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: operation.redispatch(_AS_ON_CPU, *args, **kwargs)


def _lift(found: Tensor) -> Tensor:
    """The same memory, which stays alive with the result, on the pretended device."""
    capsule = torch._C._to_dlpack(found)
    kind = ctypes.c_int32.from_address(_pointer(capsule, b"dltensor") + 8)  # after the pointer to the data
    assert kind.value == _DL_CPU
    kind.value = _DL_OTHER
    return torch._C._from_dlpack(capsule)


def _lower(tensor: Tensor) -> Tensor:
    """The same memory as an ordinary tensor, for as long as the operation runs."""
    memory = tensor.untyped_storage()
    if not memory.nbytes():  # a result without a size yet, whose memory the operation will ask for
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    storage = torch._C._construct_storage_from_data_pointer(memory.data_ptr(), _CPU, memory.nbytes())
    found = torch.empty(0, dtype=tensor.dtype)
    return found.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())


def _on_the_processor(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Every operation of the pretended device: refuse, or compute in place in the memory of the processor."""
    name = operation.__name__.split(".", 1)[0]
    if name in ("_copy_from", "_copy_from_and_resize"):
        source, target = (_lower(t) if lives_there(t) else t for t in args[:2])
        target.copy_(source)
        return args[1]
    there: list[tuple[Tensor, Tensor]] = []  # the pretended tensors, and their memory as ordinary ones
    mixed = "generator" in kwargs

    def lower(value: Any) -> Any:
        nonlocal mixed
        if isinstance(value, Tensor):
            if value.device.type != NAME:
                mixed = True
                return value
            there.append((value, _lower(value)))
            return there[-1][1]
        if isinstance(value, (list, tuple)):
            return type(value)([lower(v) for v in value])
        return _CPU if isinstance(value, torch.device) else value

    lowered = [lower(value) for value in args], {key: lower(value) for key, value in kwargs.items()}
    if mixed:
        _refuse_mixtures(operation, name, args, kwargs)
    if name.startswith("bitwise_"):  # a plain number on its way to these arrives as one, which torch takes for no tensor
        lowered = [torch.tensor(v) if isinstance(v, int) else v for v in lowered[0]], lowered[1]
    found = operation(*lowered[0], **lowered[1])
    for before, ordinary in there:  # what was given for a result, and had not its size
        if before.shape != ordinary.shape or before.data_ptr() != ordinary.data_ptr():
            before.data = _lift(ordinary)

    def raised(value: Any) -> Any:
        if isinstance(value, Tensor):
            for before, ordinary in there:
                if value is ordinary:
                    return before
            if value._is_zerotensor():  # of forward mode, where nothing flows: it has no memory
                value = torch.zeros(value.shape, dtype=value.dtype)
            memory = value.untyped_storage().data_ptr()
            for before, _ in there:
                if memory and memory == before.untyped_storage().data_ptr():
                    layout = value.shape, value.stride(), value.storage_offset()
                    return torch.ops.aten.as_strided.default.redispatch(_AS_ON_CPU, before, *layout)
            return _lift(value)
        if isinstance(value, (list, tuple)):
            return type(value)([raised(v) for v in value])
        return value

    return raised(found)


def _refuse_mixtures(operation: Any, name: str, args: Any, kwargs: Any) -> None:
    """Raise what a GPU would raise for arguments of two devices."""
    given = {a.name: v for a, v in zip(operation._schema.arguments, args, strict=False)} | kwargs
    there, here = [], []
    for key, value in given.items():
        for tensor in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(tensor, Tensor):
                (there if lives_there(tensor) else here).append((key, tensor))
    generator = given.get("generator")
    if isinstance(generator, torch.Generator):  # this device has none of its own
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{generator.device}' ({operation})")
    if not there or not here or name in _COPIES:
        return
    written = {a.name for a in operation._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
    for key, tensor in here:
        if name in _INDEXED and key == "indices":
            continue
        number = tensor.dim() == 0 and key not in written
        if number and (torch.Tag.pointwise in operation.tags or name in (*_ONE_NUMBER, *_INDEXED)):
            continue
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {key} of {operation} is on {tensor.device} and "
            f"{there[0][0]} on {there[0][1].device}"
        )

"""Whether a function can travel to another process, found at submit and told with a way out.

A function travels as a copy. That is an error waiting to be found where it *writes* to something
outside itself (``got.append``, a ``nonlocal``): the copy's list would fill and nobody would see it.
What is only read, a table in a closure say, travels well. A sink is looked at more closely, because
it has no other reason to fill a container that it did not make: there globals count too, which in a
map may well be a cache.
"""

from __future__ import annotations

import dis
import functools
import importlib.machinery
import sys
import types
from collections import deque
from collections.abc import Iterator
from queue import Queue, SimpleQueue
from typing import Any

from sage.kernel.errors import FunctionError
from sage.kernel.operators.function_spec import SINK, FunctionSpec

__all__ = ["check_portable", "modules_to_take", "not_portable", "take_modules_along"]

_HINT = (
    "collect() brings results home; give a class with its config, or make the resource in open()"
)
_HERE = "with executor='process'"
_WRITERS = {"append", "appendleft", "extend", "insert", "put", "put_nowait", "send", "write"}
_FILLERS = _WRITERS | {"add", "update", "setdefault"}
_CONTAINERS = (list, set, dict, deque, bytearray, Queue, SimpleQueue)
_HANDLE = (int, str, bytes, tuple, frozenset, types.ModuleType, type, type(None))


def not_portable(spec: FunctionSpec, why: str, where: str = _HERE) -> FunctionError:
    """Return the error for a function that cannot travel."""
    return FunctionError(f"{spec.shape.verb}({spec.label}) cannot run {where}: {why}", hint=_HINT)


def check_portable(spec: FunctionSpec, where: str = _HERE) -> None:
    """Raise if a function writes to a local object, whose copy would be written to instead.

    Args:
        spec: The function.
        where: Where it is to run, for the message.

    Raises:
        FunctionError: naming the object.
    """
    target = _unwrapped(spec.target)
    if isinstance(target, types.BuiltinMethodType):
        if target.__name__ in _FILLERS and not isinstance(target.__self__, _HANDLE):
            owner = type(target.__self__).__name__
            why = f"it would call {target.__name__}() of a copy of the {owner} it is bound to"
            raise not_portable(spec, why, where)
    elif isinstance(target, types.FunctionType):
        found = [*_writes(target), *(_fills(target) if spec.shape is SINK else ())]
        for name, doing in found:
            why = f"it {doing} {name!r}, of which a worker has only a copy"
            raise not_portable(spec, why, where)


def _unwrapped(target: Any) -> Any:
    while isinstance(target, functools.partial):
        target = target.func
    return target


def _writes(function: types.FunctionType) -> Iterator[tuple[str, str]]:
    """Yield the variables around a function that it rebinds, or whose content it adds to."""
    code = function.__code__
    around = {
        name: _content(cell)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
    }
    if function.__module__ == "__main__":  # the worker does not have the module, but parts of it
        around.update(function.__globals__)
    steps = list(dis.get_instructions(code))
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        if step.opname in ("STORE_DEREF", "STORE_GLOBAL") and step.argval in around:
            yield step.argval, "assigns to"
        elif (
            step.opname in ("LOAD_DEREF", "LOAD_GLOBAL")
            and step.argval in around
            and after is not None
            and after.opname in ("LOAD_METHOD", "LOAD_ATTR")
            and after.argval in _WRITERS
            and not isinstance(around[step.argval], _HANDLE)
        ):
            yield step.argval, f"calls {after.argval}() of"


def _fills(function: types.FunctionType) -> Iterator[tuple[str, str]]:
    """Yield the containers around a function, global ones too, that it adds to."""
    around = dict(function.__globals__)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    around.update((name, _content(cell)) for name, cell in cells)
    steps = list(dis.get_instructions(function.__code__))
    for index, step in enumerate(steps):
        if step.opname not in ("LOAD_DEREF", "LOAD_GLOBAL") or step.argval not in around:
            continue
        if not isinstance(around[step.argval], _CONTAINERS):
            continue
        behind = steps[index + 1 : index + 3]
        first = behind[0] if behind else step
        if first.opname in ("LOAD_METHOD", "LOAD_ATTR") and first.argval in _FILLERS:
            yield step.argval, f"calls {first.argval}() of"
        elif behind and behind[-1].opname == "STORE_SUBSCR":
            yield step.argval, "stores into"


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def take_modules_along(spec: FunctionSpec) -> None:
    """Let modules travel by value that a fresh interpreter would not find by their name."""
    import cloudpickle

    for module in modules_to_take(spec.target):
        cloudpickle.register_pickle_by_value(module)


def modules_to_take(target: Any) -> list[types.ModuleType]:
    """Return the modules of a function that a fresh interpreter would not find by their name."""
    target = _unwrapped(target)
    classes = target.__mro__ if isinstance(target, type) else type(target).__mro__
    names = {getattr(target, "__module__", None), *(cls.__module__ for cls in classes)}
    modules = [sys.modules.get(name or "") for name in names if name != "__main__"]
    return [module for module in modules if module is not None and not _is_found(module)]


def _is_found(module: types.ModuleType) -> bool:
    """Whether ``import`` in a process with the same path gives this module."""
    origin = getattr(module, "__file__", None)
    if origin is None:
        return True  # built in, or a namespace
    path = None
    spec: importlib.machinery.ModuleSpec | None = None
    parts = module.__name__.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)
        spec = next((found for found in specs if found is not None), None)
        if spec is None:
            return False
        path = list(spec.submodule_search_locations or ())
    return spec is not None and (not spec.has_location or spec.origin == origin)

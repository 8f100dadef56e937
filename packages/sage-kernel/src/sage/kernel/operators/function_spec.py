"""What a user gave to a verb: a class with its config, an instance, or a callable.

A `FunctionSpec` is checked when the pipeline is built and made into a live function once for each
subtask: classes are constructed, instances are copied (so that subtasks and repeated runs share no
state), callables are used as they are.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sage.common.core import functions as fn
from sage.kernel.errors import FunctionError

__all__ = ["FunctionShape", "FunctionSpec", "LiveFunction"]


@dataclass(frozen=True)
class FunctionShape:
    """What a verb wants: a function class and the method of it that does the work.

    Args:
        verb: Named in errors.
        base: The function class.
        method: What is called for each record.
        is_async: Whether the method is awaited.
        takes_callable: Whether a callable can stand for it; not where it takes several methods.
    """

    verb: str
    base: type
    method: str
    is_async: bool = False
    takes_callable: bool = True


MAP = FunctionShape("map", fn.MapFunction, "map")
FILTER = FunctionShape("filter", fn.FilterFunction, "filter")
FLAT_MAP = FunctionShape("flat_map", fn.FlatMapFunction, "flat_map")
KEY_BY = FunctionShape("key_by", fn.KeyByFunction, "get_key")
REDUCE = FunctionShape("reduce", fn.ReduceFunction, "reduce")
SINK = FunctionShape("sink", fn.SinkFunction, "write")
MAP_ASYNC = FunctionShape("map_async", fn.AsyncMapFunction, "map", is_async=True)
MAP_ON_EVENT_LOOP = FunctionShape(
    "map with executor='async'", fn.AsyncMapFunction, "map", is_async=True
)
JOIN = FunctionShape("join", fn.JoinFunction, "join")


@dataclass
class LiveFunction:
    """A function in one subtask: ``call`` does the work, ``owner`` has the life cycle, if any."""

    call: Callable[..., Any]
    owner: fn.Function | None = None


@dataclass(frozen=True)
class FunctionSpec:
    """A function as it was given to a verb.

    Args:
        shape: What the verb wants.
        target: A class, an instance of a function class, or a callable.
        args: Positional arguments of a class.
        kwargs: Keyword arguments of a class.
    """

    shape: FunctionShape
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self._is_constructed:
            self._check_class()
        elif self.args or self.kwargs:
            raise FunctionError(
                f"{self.shape.verb} got arguments {self._shown_arguments()} beside "
                f"{self._shown()}, which is no function class",
                hint="a config goes with a class: .map(Retriever, {'top_k': 5}); the options of "
                "the verb itself go by their names",
            )
        elif isinstance(self.target, fn.Function):
            self._check_kind(type(self.target))
        else:
            self._check_callable()

    @property
    def label(self) -> str:
        """The name by which people know the function."""
        target = self.target
        if isinstance(target, fn.Function):
            return type(target).__name__
        name = getattr(target, "__name__", None) or type(target).__name__
        return self.shape.verb if name == "<lambda>" else str(name)

    def composite(self) -> fn.CompositeFunction[Any, Any] | None:
        """Return the function if it is to be put on a stream as several operators, else None."""
        target = self.target
        cls = target if inspect.isclass(target) else type(target)
        if not issubclass(cls, fn.CompositeFunction):
            return None
        made: fn.CompositeFunction[Any, Any] = (
            self._constructed() if self._is_constructed else target
        )
        return made

    def live(self, *, may_share: bool = True) -> LiveFunction:
        """Make the function of one subtask.

        Args:
            may_share: Whether an instance that cannot be copied may be used as it is.

        Raises:
            FunctionError: if an instance cannot be copied and may not be shared.
        """
        target = self.target
        if self._is_constructed:
            target = self._constructed()
        elif isinstance(target, fn.Function):
            target = self._copied(may_share)
        if isinstance(target, fn.Function):
            return LiveFunction(getattr(target, self.shape.method), target)
        return LiveFunction(target)

    @property
    def _is_constructed(self) -> bool:
        """Whether the target is a class to make an object of; ``int`` or ``str`` is a callable."""
        cls = self.target
        return inspect.isclass(cls) and (
            issubclass(cls, fn.Function) or any("__call__" in vars(base) for base in cls.__mro__)
        )

    def _constructed(self) -> Any:
        args, kwargs = self.arguments()
        return self.target(*args, **kwargs)

    def arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return what the class is made of; a sole dict is the config or the keyword arguments."""
        if len(self.args) != 1 or not isinstance(self.args[0], Mapping):
            return self.args, self.kwargs
        try:
            names = list(inspect.signature(self.target).parameters)
        except (TypeError, ValueError):
            names = []
        if names == ["config"]:
            return self.args, self.kwargs
        return (), {**self.args[0], **self.kwargs}

    def _copied(self, may_share: bool) -> fn.Function:
        try:
            copied: fn.Function = copy.deepcopy(self.target)
        except Exception as error:
            if may_share:
                return self.target  # type: ignore[no-any-return]
            raise FunctionError(
                f"{self.label} cannot be copied for several subtasks: "
                f"{type(error).__name__}: {error}",
                hint="give the class with its config, or make the resource in open()",
            ) from error
        return copied

    def _check_class(self) -> None:
        if issubclass(self.target, fn.Function):
            self._check_kind(self.target)
        missing = sorted(getattr(self.target, "__abstractmethods__", ()))
        if missing:
            raise FunctionError(
                f"{self.label} does not define {', '.join(missing)}()",
                hint="define it in the class",
            )
        args, kwargs = self.arguments()
        if hasattr(self.target.__init__, "__sage_configurable__"):
            self._constructed()  # cheap by contract, and finds every mistake of the config now
            return
        try:
            inspect.signature(self.target).bind(*args, **kwargs)
        except TypeError as error:
            raise FunctionError(
                f"{self.label} cannot be made of {self._shown_arguments()}: {error}"
            ) from error
        except ValueError:  # a builtin without a signature
            return

    def _check_kind(self, cls: type) -> None:
        if issubclass(cls, self.shape.base):
            return
        kind = next((b.__name__ for b in cls.__mro__ if b.__module__ == fn.__name__), cls.__name__)
        verb = _VERB_OF.get(kind)
        raise FunctionError(
            f"{self.shape.verb} wants {_a(self.shape.base.__name__)}, "
            f"but {cls.__name__} is {_a(kind)}",
            hint=f"use .{verb}({cls.__name__}, ...)" if verb else None,
        )

    def _check_callable(self) -> None:
        if not callable(self.target):
            raise FunctionError(
                f"{self.shape.verb} wants a function, got {type(self.target).__name__}: "
                f"{self.target!r:.80}",
                hint="give a class with its config, an instance of a function class, or a callable",
            )
        if not self.shape.takes_callable:
            methods = sorted(getattr(self.shape.base, "__abstractmethods__", ()))
            raise FunctionError(
                f"{self.shape.verb} wants {_a(self.shape.base.__name__)}, got {self._shown()}",
                hint=f"a class with {', '.join(methods[:-1])} and {methods[-1]}",
            )
        called = self.target if inspect.isroutine(self.target) else type(self.target).__call__
        is_async = inspect.iscoroutinefunction(called)
        if is_async and not self.shape.is_async:
            raise FunctionError(
                f"{self.shape.verb} wants a function, but {self.label!r} is asynchronous",
                hint="use .map_async(...)",
            )
        if self.shape.is_async and not is_async and inspect.isfunction(called):
            raise FunctionError(
                f"{self.shape.verb} wants an async function, "
                f"but {self._shown()} appears to be synchronous",
                hint="use .map(...), or declare it with 'async def'",
            )

    def _shown(self) -> str:
        is_lambda = getattr(self.target, "__name__", "") == "<lambda>"
        return "the lambda" if is_lambda else repr(self.label)

    def _shown_arguments(self) -> str:
        shown = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"({', '.join(shown)})"


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AEIOU" else f"a {noun}"


_VERB_OF = {
    "MapFunction": "map",
    "FilterFunction": "filter",
    "FlatMapFunction": "flat_map",
    "SinkFunction": "sink",
    "AsyncMapFunction": "map_async",
    "ProcessFunction": "process",
    "KeyByFunction": "key_by",
    "CoMapFunction": "connect(...).comap",
}

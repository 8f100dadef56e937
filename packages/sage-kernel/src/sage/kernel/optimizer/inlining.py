"""Writes simple functions into the loop as expressions, which saves the call for every record.

``.map(lambda x: x * 3 + 1)`` becomes ``v1 = v * 3 + 1``: the same operations on the same values in
the same order, hence the same results, errors and side effects. The rule changes a plan only where
it can prove that; every doubt leaves the call as it is, and leaving the whole rule out changes no
result.

The proof does not trust source text. Source is only where an expression is *proposed* from: it is
compiled again and must come out as exactly the byte code, constants and names that the function
has. A file that was edited since it was imported, a wrong line, several lambdas on one line: what
does not compile to the same code is not inlined.

What else has to hold, and why:

* Parameters, and no other name. A global, a builtin or a closure variable can be bound to
  something else while the job runs, and a call would see that.
* No lambda, comprehension, ``:=``, ``await`` or ``yield``: they have scopes or suspend frames.
* Calls only of methods with the names of builtin types' methods (``x.lower()``). Libraries have
  methods that read the variables of their caller (``DataFrame.query``); inlined, that would be
  another frame.
* Nobody watches: under a profiler, a debugger or coverage the user's functions stay calls.

What remains visible is the frame that is not there. A traceback has the generated line, with the
user's file and line as a comment, in place of the function's; a warning is attributed to the chain;
an operator or property of a record's own class that looks at its caller sees the chain. And a
literal such as ``(1, 2)`` is an equal object, not the very one that the function would return.
"""

from __future__ import annotations
import __future__ as future

import ast
import datetime
import inspect
import linecache
import re
import sys
import threading
from dataclasses import replace
from types import CodeType, FunctionType
from typing import Any

from sage.common.core.functions import Function
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Transformation
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.inline_expression import InlinedFunction

__all__ = ["inline_expressions", "inlined"]

# Longer ones gain little from a saved call, and deep ones exhaust the parser.
_MAX_LENGTH = 400

_NODES: tuple[type[ast.AST], ...] = (
    *(ast.Name, ast.Constant, ast.Load, ast.Attribute, ast.Subscript, ast.Slice),
    *(ast.BinOp, ast.operator, ast.UnaryOp, ast.unaryop, ast.BoolOp, ast.boolop),
    *(ast.Compare, ast.cmpop, ast.IfExp, ast.Call, ast.keyword),
    *(ast.Tuple, ast.List, ast.Dict, ast.Set, ast.JoinedStr, ast.FormattedValue),
)
_METHODS = frozenset(
    name
    for kind in (
        *(str, bytes, int, float, complex, list, tuple, dict, set, frozenset),
        *(datetime.date, datetime.datetime, datetime.timedelta),
    )
    for name in dir(kind)
    if not name.startswith("_")
)
# Flags that say nothing about what the code does: where it was written, and future features, none
# of which changes an expression of the kinds above.
_INCIDENTAL_FLAGS = inspect.CO_NESTED
for _name in future.all_feature_names:
    _INCIDENTAL_FLAGS |= getattr(future, _name).compiler_flag

# The parser warns of escapes that mean nothing; it did so once, when the user's file was imported.
_DOUBTFUL_ESCAPE = re.compile(r"""\\(?![\\'"abfnrtvxuUN0\n])""")


def inline_expressions(graph: StreamGraph) -> StreamGraph:
    """Return the plan with simple functions as expressions.

    They are those of ``map``, ``filter``, ``key_by``, ``assign_timestamps``, ``reduce`` and
    ``aggregate``; of an `AggregateFunction`, ``add``.

    While a profiler, tracer or debugger is active, the plan is returned as it is.
    """
    if _is_watched():
        return graph
    return graph.replaced(tuple(_rewritten(t) for t in graph))


def inlined(function: Any, parameters: int = 1) -> InlinedFunction | None:
    """Return what a function returns as an expression, or None where that cannot be proved.

    Args:
        function: The function; of a method, that of the class.
        parameters: How many it has, ``self`` included.

    Example:
        >>> inlined(len) is None
        True
    """
    if type(function) is not FunctionType or not _has_plain_signature(function, parameters):
        return None
    code = function.__code__
    try:
        text, is_def = _proposed(function)
        expression = ast.parse(f"({text}\n)", mode="eval").body
        if not _is_allowed(expression, code.co_varnames):
            return None
        if not any(_same(c, code) for c in _compiled(expression, code, is_def)):
            return None
        rendered = ast.unparse(expression)
        if "\n" in rendered or ast.dump(ast.parse(rendered, mode="eval").body) != ast.dump(
            expression
        ):
            return None
    except (SyntaxError, ValueError, RecursionError, MemoryError, LookupError):
        return None  # not a line of the file any more, or nothing that can be written down again
    return InlinedFunction(code.co_varnames, rendered, _origin(code))


def _rewritten(transformation: Transformation) -> Transformation:
    if transformation.executor is not None:
        return transformation
    return replace(transformation, operator=transformation.operator.inlined(_inlined_spec))


def _inlined_spec(spec: FunctionSpec, parameters: int = 1) -> InlinedFunction | None:
    """Return what a verb's function returns; methods are looked into where folds want two."""
    cls = spec.target if isinstance(spec.target, type) else type(spec.target)
    if parameters > 1 and issubclass(cls, Function):
        return inlined(inspect.getattr_static(cls, spec.shape.method, None), parameters + 1)
    return inlined(spec.target, parameters)


def _is_watched() -> bool:
    monitoring = getattr(sys, "monitoring", None)  # Python 3.12
    return (
        sys.getprofile() is not None
        or sys.gettrace() is not None
        or threading.getprofile() is not None
        or threading.gettrace() is not None
        or (monitoring is not None and any(monitoring.get_tool(i) for i in range(6)))
    )


def _has_plain_signature(function: FunctionType, parameters: int) -> bool:
    code = function.__code__
    return (
        code.co_argcount == parameters
        and code.co_kwonlyargcount == 0
        and code.co_nlocals == parameters
        and not code.co_freevars
        and not code.co_cellvars
        and function.__defaults__ is None
        and "__wrapped__" not in function.__dict__
    )


def _proposed(function: FunctionType) -> tuple[str, bool]:
    """Return the text that the code says it was compiled from, and whether it was a ``return``.

    Raises:
        LookupError: if there is no such text.
    """
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    spans = [
        ((line, column), (end_line, end_column))
        for line, end_line, column, end_column in code.co_positions()
        if line and end_line and column is not None and end_column is not None
        if (line, column) < (end_line, end_column)
    ]
    if not spans:
        raise LookupError("compiled without positions (-X no_debug_ranges)")
    (line, column), (end_line, end_column) = min(s for s, _ in spans), max(e for _, e in spans)
    part = [text.encode() for text in lines[line - 1 : end_line]]
    if len(part) != end_line - line + 1:
        raise LookupError("the file is shorter than it was")
    part[-1] = part[-1][:end_column]
    part[0] = part[0][column:]
    text = b"".join(part).decode().strip()
    if len(text) > _MAX_LENGTH or _DOUBTFUL_ESCAPE.search(text):
        raise LookupError("too long, or with doubtful escapes")
    body = re.fullmatch(r"return\b(.*)", text, re.DOTALL)
    return (body[1], True) if body else (text, False)


def _is_allowed(expression: ast.expr, parameters: tuple[str, ...]) -> bool:
    for node in ast.walk(expression):
        match node:
            case ast.Name(id=name) if name not in parameters:
                return False
            case ast.Call(func=ast.Attribute(attr=name)) if name in _METHODS:
                pass
            case ast.Call():
                return False
            case ast.Compare() if _compares_identity_of_literal(node):
                return False
            case ast.Subscript(value=value) if not _can_be_subscripted(value):
                return False
            case _ if not isinstance(node, _NODES):
                return False
    return True


def _compares_identity_of_literal(node: ast.Compare) -> bool:
    """``x is 1``: the compiler warns, and the answer depends on which objects it shares."""
    return any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops) and any(
        not isinstance(side, (ast.Name, ast.Attribute, ast.Subscript, ast.Call))
        and not (isinstance(side, ast.Constant) and type(side.value) in (type(None), bool))
        for side in (node.left, *node.comparators)
    )


def _can_be_subscripted(value: ast.expr) -> bool:
    """Literals are left out: the compiler warns of some of them, each time it sees them."""
    return isinstance(value, (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.BinOp))


def _compiled(expression: ast.expr, code: CodeType, is_def: bool) -> list[CodeType]:
    """Return the codes of the functions that have this expression and these parameters."""
    parameters = ", ".join(code.co_varnames)
    if not is_def:
        made = ast.parse(f"lambda {parameters}: 0", mode="eval")
        assert isinstance(made.body, ast.Lambda)
        made.body.body = expression
        return [_inner(compile(made, code.co_filename, "eval", dont_inherit=True))]
    # Whether a text among the constants is a docstring is not to be seen from outside.
    docstrings = ["", *(f"{c!r};" for c in code.co_consts[:1] if isinstance(c, str))]
    codes = []
    for docstring in docstrings:
        module = ast.parse(f"def f({parameters}): {docstring} return 0")
        assert isinstance(module.body[0], ast.FunctionDef)
        returned = module.body[0].body[-1]
        assert isinstance(returned, ast.Return)
        returned.value = expression
        codes.append(_inner(compile(module, code.co_filename, "exec", dont_inherit=True)))
    return codes


def _inner(code: CodeType) -> CodeType:
    return next(c for c in code.co_consts if isinstance(c, CodeType))


def _same(candidate: CodeType, code: CodeType) -> bool:
    """Compare all that the codes do: instructions, constants with their types, names, flags."""
    if (candidate.co_flags ^ code.co_flags) & ~_INCIDENTAL_FLAGS:
        return False
    # Python's own comparison, after making equal what only says where the code stands. Both sides
    # go through replace(), which undoes what the running interpreter specialised.
    return code.replace() == candidate.replace(
        co_flags=code.co_flags,
        co_posonlyargcount=code.co_posonlyargcount,
        co_filename=code.co_filename,
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_firstlineno=code.co_firstlineno,
        co_linetable=code.co_linetable,
    )


def _origin(code: CodeType) -> str:
    name = "".join(c if c.isprintable() else "?" for c in code.co_filename)
    return f"{name}:{code.co_firstlineno}"

"""A user's function as an expression that an operator writes into the loop instead of a call.

Which functions may be written this way is decided, and proved, by ``optimizer.inlining``. Here is
only what an operator needs to write: the function's result for the loop's current value, as a call
or as the expression itself.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.kernel.operators.function_spec import LiveFunction

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["InlinedFunction", "applied", "call_of", "drop_unless"]


@dataclass(frozen=True)
class InlinedFunction:
    """What a function returns, as source text on one line.

    Args:
        parameters: Names of the parameters, the only names that the expression reads.
        expression: The text.
        origin: Where the user wrote it, ``file:line``, for tracebacks.

    Example:
        >>> InlinedFunction(("x",), "x.real + len('x')", "app.py:3").on("v7")
        "v7.real + len('x')"
    """

    parameters: tuple[str, ...]
    expression: str
    origin: str

    @property
    def asks_for_truth(self) -> bool:
        """Whether it may itself ask for the truth of what it returns, as ``a and b`` does."""
        return any(
            isinstance(node, ast.BoolOp) or (isinstance(node, ast.Compare) and len(node.ops) > 1)
            for node in ast.walk(ast.parse(self.expression, mode="eval"))
        )

    @property
    def is_never_none(self) -> bool:
        """Whether it cannot be None, whatever the parameters are."""
        return _is_never_none(ast.parse(self.expression, mode="eval").body)

    def on(self, *variables: str) -> str:
        """Return the expression with variables in the place of the parameters."""
        tree = ast.parse(self.expression, mode="eval")
        renamed = dict(zip(self.parameters, variables, strict=True))
        return ast.unparse(_Renaming(renamed).visit(tree))


def _is_never_none(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return value is not None
        case ast.Tuple() | ast.List() | ast.Dict() | ast.Set() | ast.JoinedStr():
            return True
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[ast.Is() | ast.IsNot() | ast.In() | ast.NotIn()]):
            return True  # unlike ==, which may return anything
        case ast.BoolOp(values=values):
            return all(map(_is_never_none, values))
        case ast.IfExp(body=body, orelse=orelse):
            return _is_never_none(body) and _is_never_none(orelse)
    return False


class _Renaming(ast.NodeTransformer):
    def __init__(self, renamed: dict[str, str]) -> None:
        self._renamed = renamed

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._renamed.get(node.id, node.id), node.ctx)


def applied(loop: Loop, function: LiveFunction, inline: InlinedFunction | None, to: str) -> str:
    """Assign the result of a function to a fresh variable and return the variable.

    The comment behind an expression shows in tracebacks, whose lines are those of the generated
    source.

    Args:
        loop: The loop to write into.
        function: The live function.
        inline: What it returns, if that is known.
        to: Hint for the name of the variable.
    """
    result = loop.fresh(to)
    if inline is None:
        loop.line(f"{result} = {loop.bind(function.call)}({loop.value})")
    else:
        loop.line(f"{result} = {inline.on(loop.value)}  # {inline.origin}")
    return result


def call_of(
    loop: Loop, function: LiveFunction, inline: InlinedFunction | None, *variables: str
) -> str:
    """Return what calls a function with variables, for the end of a line.

    Args:
        loop: The loop to write into.
        function: The live function.
        inline: What it returns, if that is known; of a method, ``self`` is its first parameter.
        variables: The arguments.
    """
    call, owner = function.call, function.owner
    if inline is not None and len(inline.parameters) > len(variables):
        # An object may have another function under the name of its class's method.
        same = getattr(call, "__func__", None) is getattr(type(owner), call.__name__, call)
        if same and getattr(call, "__self__", None) is owner:
            expression = inline.on(loop.bind(owner, "self"), *variables)
            return f"{expression}  # {inline.origin}"
    elif inline is not None:
        return f"{inline.on(*variables)}  # {inline.origin}"
    return f"{loop.bind(call)}({', '.join(variables)})"


def drop_unless(loop: Loop, function: LiveFunction, inline: InlinedFunction | None) -> None:
    """Drop the current value as filtered where a function's result is not true.

    In a condition Python asks each part of ``a and b`` for its truth once, but a function that
    returns ``a and b`` and its caller both ask the part that decided; such an expression is
    assigned first. A plain comparison is a condition, which the interpreter runs faster.

    Args:
        loop: The loop to write into.
        function: The live function.
        inline: What it returns, if that is known.
    """
    if inline is None:
        loop.drop_if(f"not {loop.bind(function.call)}({loop.value})", "filtered")
    elif inline.asks_for_truth:
        loop.drop_if(f"not {applied(loop, function, inline, 'p')}", "filtered")
    else:
        condition = f"if not ({inline.on(loop.value)}):  # {inline.origin}"
        loop.block(condition, [f"{loop.count('filtered')} += 1", "continue"])

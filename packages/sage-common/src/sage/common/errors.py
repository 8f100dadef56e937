"""Every error that SAGE raises on purpose, under one root.

The tree::

    SageError
    ├── ConfigError            a configuration is wrong; lists all its problems at once
    ├── UnknownNameError       a name that nothing is registered under
    ├── DuplicateNameError     two things registered under one name
    ├── MissingExtraError      an optional dependency is not installed
    ├── MissingKeyError        an environment variable (a key, a secret) is not set
    ├── DataError              a file or record that cannot be read as what it claims to be
    │   ├── LimitError         it would take more time, memory or space than is allowed
    │   └── AccessRefusedError a path or address that a document may not be read from
    ├── StorageError           a store that cannot be written or opened (full disk, lock, damage)
    ├── UnreachableError       an endpoint that does not answer
    ├── EndpointError          an endpoint that answers with an error
    ├── ServiceError           a service that is not registered, or did not answer in time
    ├── StateError             keyed state that is declared wrongly, or used where there is no key
    └── GraphError ...         what the engine adds is drawn in ``sage.kernel.errors``

An error says what is wrong, what was got, what was expected, and (in ``hint``) what to do. It
carries its facts as ``fields`` and a stable ``code`` that programs may match on; the command line,
the gateway and the studio show both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

__all__ = [
    "AccessRefusedError",
    "ConfigError",
    "DataError",
    "DuplicateNameError",
    "EndpointError",
    "LimitError",
    "MissingExtraError",
    "MissingKeyError",
    "Problem",
    "SageError",
    "ServiceError",
    "StateError",
    "StorageError",
    "UnknownNameError",
    "UnreachableError",
]


class SageError(Exception):
    """Root of every error that SAGE raises on purpose.

    Args:
        message: What is wrong, with the value that was got.
        hint: What to do about it, or None.
        fields: The facts of the error, for programs.

    Example:
        >>> error = SageError("no such thing", hint="make one", thing="a")
        >>> print(error)
        no such thing
          hint: make one
        >>> error.code, error.fields
        ('sage-error', {'thing': 'a'})
    """

    code: ClassVar[str] = "sage-error"

    def __init__(self, message: str, *, hint: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        return f"{self.message}\n  hint: {self.hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)

    def to_dict(self) -> dict[str, Any]:
        """Return code, message, hint and fields, ready for JSON."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            **{name: _plain(value) for name, value in self.fields.items()},
        }


def _restore(cls: type[SageError], args: tuple[Any, ...], attributes: dict[str, Any]) -> SageError:
    """Rebuild an error on the other side of a process boundary, whatever its constructor takes."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


class Problem(NamedTuple):
    """One thing that is wrong with a configuration, and where."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(SageError):
    """A configuration has problems; it lists them all at once, each with its path.

    Example:
        >>> print(ConfigError("pipeline.yaml", [Problem("$.source", "is missing")]))
        pipeline.yaml: is missing - at $.source
    """

    code = "config-error"

    def __init__(
        self, subject: str, problems: Sequence[Problem], *, hint: str | None = None
    ) -> None:
        self.problems = list(problems)
        lines = [f"{p.message} - at {p.path}" if p.path else p.message for p in self.problems]
        if len(lines) == 1:
            message = f"{subject}: {lines[0]}"
        else:
            message = f"{subject}: {len(lines)} problems" + "".join(f"\n  - {li}" for li in lines)
        super().__init__(
            message, hint=hint, subject=subject, problems=[str(p) for p in self.problems]
        )


class UnknownNameError(SageError):
    """A name that nothing is registered under; it suggests the nearest one and lists the rest."""

    code = "unknown-name"


class DuplicateNameError(SageError):
    """Two things claim one name; it names both."""

    code = "duplicate-name"


class MissingExtraError(SageError):
    """An optional dependency is needed and not installed; it says what to install.

    Example:
        >>> print(MissingExtraError("chromadb", extra="isage-libs[chroma]"))
        'chromadb' is needed here and is not installed
          hint: pip install 'isage-libs[chroma]'
    """

    code = "missing-extra"

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(
            f"{package!r} is needed here and is not installed",
            hint=f"pip install '{extra}'",
            package=package,
            extra=extra,
        )


class MissingKeyError(SageError):
    """An environment variable that holds a key is not set; it names the variable.

    Args:
        variable: The name of the environment variable.
        needed_by: Who needs it, for the message.
        alternative: How to go on without it, or None.
    """

    code = "missing-key"

    def __init__(self, variable: str, *, needed_by: str, alternative: str | None = None) -> None:
        super().__init__(
            f"{needed_by} needs the environment variable {variable}, which is not set",
            hint=f"export {variable}=..." + (f", or {alternative}" if alternative else ""),
            variable=variable,
            needed_by=needed_by,
        )


class DataError(SageError):
    """A file or record cannot be read as what it claims to be."""

    code = "data-error"


class LimitError(DataError):
    """A document would take more time, memory or space than is allowed; it names the limit."""

    code = "limit-exceeded"


class AccessRefusedError(DataError):
    """A path or an address that documents may not be read from; it says why."""

    code = "access-refused"


class StorageError(SageError):
    """A store cannot be opened or written: a full disk, a lock, damage."""

    code = "storage-error"


class UnreachableError(SageError):
    """An endpoint does not answer at all; it names the address."""

    code = "unreachable"


class EndpointError(SageError):
    """An endpoint answered with an error, or broke off in the middle of an answer."""

    code = "endpoint-error"


class ServiceError(SageError):
    """A service is not registered under this name, or did not answer in time."""

    code = "service-error"


class StateError(SageError):
    """Keyed state is declared wrongly, contradicts what is stored, or is used without a key."""

    code = "state-error"

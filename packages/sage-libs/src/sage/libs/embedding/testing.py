"""Conformance suite: what every embedder must do, as checks that any embedder can run.

In a test module of the embedder::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check: Check) -> None:
        check(MyEmbedder())

or, in one go, ``check_embedder(MyEmbedder())``. A check raises ``AssertionError`` with what it
found. None of them looks at meaning: which texts are near each other is the model's affair, that
two embedders of one model agree is shown by `check_same_vectors`.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from sage.common.errors import DataError
from sage.libs.embedding.embedder import Embedder

__all__ = ["CHECKS", "TEXTS", "Check", "check_embedder", "check_same_vectors"]

Vectors: TypeAlias = npt.NDArray[np.float32]
Check: TypeAlias = Callable[[Embedder], None]

# Short and long, two scripts, a repeated one, punctuation, blanks and nothing.
TEXTS: Final[tuple[str, ...]] = (
    "Water boils at 100 degrees Celsius at sea level.",
    "cat",
    "",
    "Streams are processed record by record. " * 5,
    "水在一百度沸腾。",
    "cat",
    " \t\n",
    "naïve café ☂ №5 -- (see [1])",
)
# The same text alone and among others is computed in other shapes, so sums round differently.
_LEAST_COSINE: Final = 1 - 1e-4
_THREADS: Final = 4


def check_embedder(embedder: Embedder) -> None:
    """Run every check on an embedder.

    Raises:
        AssertionError: with what was found and expected, at the first check that fails.

    Example:
        >>> from sage.libs.embedding import MockTextEmbedder
        >>> check_embedder(MockTextEmbedder(fixed_dim=64))
    """
    for check in CHECKS:
        check(embedder)


def check_same_vectors(
    embedder: Embedder,
    reference: Embedder,
    *,
    texts: Sequence[str] = TEXTS,
    least_cosine: float = 0.9999,
) -> None:
    """Check that two embedders of one model make the same vectors, up to their arithmetic.

    Args:
        embedder: The one under test.
        reference: One that is known to be right.
        texts: What both embed.
        least_cosine: Of the two vectors of a text; what embedders that share an id owe each other.

    Raises:
        AssertionError: with the first text whose vectors are further apart.
    """
    assert embedder.dim == reference.dim, f"dim is {embedder.dim}, not {reference.dim}"
    ours, theirs = embedder.embed(list(texts)), reference.embed(list(texts))
    _same(ours, theirs, texts, least_cosine)


def _is_an_embedder(embedder: Embedder) -> None:
    """It has the attributes and the method of the protocol."""
    assert isinstance(embedder, Embedder), f"{embedder!r} is no Embedder"
    assert isinstance(embedder.model, str), f"model is {embedder.model!r}, expected a name"
    assert embedder.model, "model is empty"
    assert isinstance(embedder.dim, int), f"dim is {embedder.dim!r}, expected a number"
    assert embedder.dim > 0, f"dim is {embedder.dim}"


def _gives_unit_rows(embedder: Embedder) -> None:
    """Each text, the empty and the blank one too, has a finite float32 vector of length 1."""
    _unit(embedder.embed(list(TEXTS)), len(TEXTS), embedder.dim)


def _takes_any_sequence(embedder: Embedder) -> None:
    """A tuple is as good as a list."""
    _same(embedder.embed(TEXTS), embedder.embed(list(TEXTS)), TEXTS)


def _gives_no_rows_for_no_texts(embedder: Embedder) -> None:
    """No texts give float32 [0, dim]."""
    _unit(embedder.embed([]), 0, embedder.dim)


def _keeps_the_order(embedder: Embedder) -> None:
    """Rows are in the order of the texts, however they were sorted into batches."""
    order = [5, 0, 7, 3, 1, 4, 6, 2]
    shuffled = [TEXTS[n] for n in order]
    _same(embedder.embed(shuffled), embedder.embed(list(TEXTS))[order], shuffled)


def _does_not_depend_on_the_batch(embedder: Embedder) -> None:
    """A text has the same vector alone as among many others."""
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    many = embedder.embed(list(TEXTS) * 10)
    for start in range(0, len(many), len(TEXTS)):
        _same(many[start : start + len(TEXTS)], alone, TEXTS)


def _is_deterministic(embedder: Embedder) -> None:
    """The same call gives the same vectors again, and equal texts in it the same vector."""
    first, second = embedder.embed(list(TEXTS)), embedder.embed(list(TEXTS))
    _same(first, second, TEXTS)
    _same(first[1:2], first[5:6], TEXTS[1:2])


def _tells_texts_apart(embedder: Embedder) -> None:
    """Texts that share no word have different vectors."""
    one, other = embedder.embed([TEXTS[0], TEXTS[3]])
    assert float(one @ other) < 0.99, f"{TEXTS[0]!r} and {TEXTS[3]!r} have the same vector"


def _gives_its_vectors_away(embedder: Embedder) -> None:
    """The caller may write into the result without harm to the next one."""
    first = embedder.embed(list(TEXTS))
    kept = first.copy()
    first[:] = 0
    _same(embedder.embed(list(TEXTS)), kept, TEXTS)


def _survives_long_texts(embedder: Embedder) -> None:
    """A text far over the model's length is truncated or averaged, never an error."""
    _unit(embedder.embed(["river stone " * 5_000, "cat"]), 2, embedder.dim)


def _survives_half_a_surrogate_pair(embedder: Embedder) -> None:
    """What broken files hold has a vector all the same."""
    _unit(embedder.embed(["broken \ud800 text", "\udfff"]), 2, embedder.dim)


def _refuses_a_single_text(embedder: Embedder) -> None:
    """One text in place of a list is named, not embedded letter by letter."""
    _refused(embedder, "a text")


def _refuses_what_is_no_text(embedder: Embedder) -> None:
    """A number, None or bytes among the texts are errors, before anything is computed."""
    for other in (3, None, b"bytes", ["nested"]):
        _refused(embedder, ["a", other])


def _can_be_copied(embedder: Embedder) -> None:
    """Copies and pickles, as jobs and worker processes make them, embed the same."""
    expected = embedder.embed(list(TEXTS))
    for other in (copy.deepcopy(embedder), pickle.loads(pickle.dumps(embedder))):
        assert (other.model, other.dim) == (embedder.model, embedder.dim)
        _same(other.embed(list(TEXTS)), expected, TEXTS)


def _serves_threads_at_once(embedder: Embedder) -> None:
    """Calls from several threads do not mix."""
    expected = embedder.embed(list(TEXTS))
    orders = [[(n + turn) % len(TEXTS) for n in range(len(TEXTS))] for turn in range(6)]
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda order: embedder.embed([TEXTS[n] for n in order]), orders)
        for order, vectors in zip(orders, results, strict=True):
            _same(vectors, expected[order], [TEXTS[n] for n in order])


def _embeds_tokens(embedder: Embedder) -> None:
    """If it gives a vector for each token: unit rows, more for more text, alone as in a batch."""
    embed_tokens = getattr(embedder, "embed_tokens", None)
    if embed_tokens is None:
        return
    together = embed_tokens(list(TEXTS))
    assert len(together) == len(TEXTS), f"{len(together)} results for {len(TEXTS)} texts"
    for text, rows in zip(TEXTS, together, strict=True):
        _unit(rows, len(rows), embedder.dim)
        (alone,) = embed_tokens([text])
        assert len(alone) == len(rows), f"{text!r} has {len(alone)} tokens alone, not {len(rows)}"
        _same(alone, rows, [text] * len(rows))
    assert len(together[3]) > len(together[0]) > len(together[1]) >= 1
    assert embed_tokens([]) == []


CHECKS: Final[tuple[Check, ...]] = (
    _is_an_embedder,
    _gives_unit_rows,
    _takes_any_sequence,
    _gives_no_rows_for_no_texts,
    _keeps_the_order,
    _does_not_depend_on_the_batch,
    _is_deterministic,
    _tells_texts_apart,
    _gives_its_vectors_away,
    _survives_long_texts,
    _survives_half_a_surrogate_pair,
    _refuses_a_single_text,
    _refuses_what_is_no_text,
    _can_be_copied,
    _serves_threads_at_once,
    _embeds_tokens,
)


def _unit(vectors: Vectors, rows: int, dim: int) -> None:
    assert isinstance(vectors, np.ndarray), f"got {type(vectors).__name__}, expected an array"
    assert vectors.shape == (rows, dim), f"shape is {vectors.shape}, expected {(rows, dim)}"
    assert vectors.dtype == np.float32, f"dtype is {vectors.dtype}, expected float32"
    lengths = np.linalg.norm(vectors, axis=1)
    far = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))  # so that NaN counts as far
    assert not far.size, f"row {far[0]} has length {lengths[far[0]]}, expected 1"


def _same(
    ours: Vectors, theirs: Vectors, texts: Sequence[str], least_cosine: float = _LEAST_COSINE
) -> None:
    assert ours.shape == theirs.shape, f"shape is {ours.shape}, expected {theirs.shape}"
    cosines = (ours.astype(np.float64) * theirs).sum(axis=1)
    for text, cosine in zip(texts, cosines, strict=True):
        assert cosine >= least_cosine, f"cosine {cosine:.6f} < {least_cosine} for {text!r:.60}"


def _refused(embedder: Embedder, texts: Any) -> None:
    try:
        embedder.embed(texts)
    except DataError:
        return
    raise AssertionError(f"embed({texts!r}) is no error, expected a DataError")

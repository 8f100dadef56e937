"""G1 and G2: texts of sixty tokens through the tokenizer, and through the whole embedder on a GPU.

G1 needs no GPU. It measures what decides about G2: a device computes a hundred thousand such texts
in a second, so that is how fast their tokens have to come. Vectors are compared with those of
sentence-transformers in float32 on the processor.

Texts are made of the model's own vocabulary, with Zipf's frequencies and three new words in a
hundred, about what a corpus of abstracts has: a tokenizer that remembers words lives on repetition,
and must not be given more of it than there is.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "GPU_ROW",
    "TOKENS_ROW",
    "measure",
    "measure_tokens",
    "sage",
    "sage_in_one_process",
    "sentence_transformer",
    "texts",
    "tokenizers",
    "words_remembered",
    "words_remembered_by_processes",
]

_WORDS = 54  # with two special tokens and the pieces of new words that is sixty
_NEW_WORDS = 0.03
_WINDOW = 2048
_REPEATS = 30
_COMPARED = 256

Embed = Callable[[list[str]], "npt.NDArray[np.float32]"]
"""What a contestant of G2 makes for a device: it turns texts into vectors."""

Tokenize = Callable[[list[str]], int]
"""A contestant of G1: it returns how many tokens the texts have."""


def texts(count: int, seed: int = 0) -> list[str]:
    """Return texts of about sixty tokens, the same each time."""
    import numpy as np

    from sage.libs.embedding import load_tokenizer

    pieces = load_tokenizer().get_vocab()
    # In a vocabulary that was learnt the id is nearly the rank.
    words = sorted((p for p in pieces if p.isascii() and p.isalpha()), key=pieces.__getitem__)
    rng = np.random.default_rng(seed)
    frequency = 1 / (np.arange(len(words)) + 2.7)
    ranks = rng.choice(len(words), size=(count, _WORDS), p=frequency / frequency.sum())
    picked = np.array(words, dtype=object)[ranks]
    is_new = rng.random(picked.shape) < _NEW_WORDS
    picked[is_new] = [f"{word}{number}" for number, word in enumerate(picked[is_new])]
    return [" ".join(row) for row in picked.tolist()]


def tokenizers(given: list[str]) -> int:
    """The limit: the library itself, on all cores, and its lists of ids."""
    from sage.libs.embedding import load_tokenizer

    tokenizer = load_tokenizer()
    return sum(
        len(encoding.ids)
        for start in range(0, len(given), _WINDOW)
        for encoding in tokenizer.encode_batch_fast(given[start : start + _WINDOW])
    )


def words_remembered(given: list[str]) -> int:
    """SAGE's tokenizer in one process, which remembers from the warm-up on."""
    tokenizer = _cached_tokenizer()
    return sum(len(tokenizer.encode(window).flat) for window in _windows(given))


def words_remembered_by_processes(given: list[str]) -> int:
    """The same in two processes."""
    return sum(len(tokens.flat) for tokens in _processes().encode(_windows(given)))


def _windows(given: list[str]) -> Iterator[str]:
    from sage.libs.embedding.gpu_tokens import joined

    return (joined(given[n : n + _WINDOW]) for n in range(0, len(given), _WINDOW))


@functools.cache
def _cached_tokenizer() -> Any:
    from sage.libs.embedding import load_tokenizer
    from sage.libs.embedding.gpu_tokens import CachedTokenizer

    return CachedTokenizer(load_tokenizer(), 256)


@functools.cache
def _processes() -> Any:
    from sage.libs.embedding import DEFAULT_MODEL
    from sage.libs.embedding.gpu_token_workers import TokenWorkers
    from sage.libs.embedding.weights import resolve

    return TokenWorkers(resolve(DEFAULT_MODEL), 256, processes=2)


def measure_tokens(contestant: Tokenize, request: Request) -> Sample:
    """Time a contestant of G1 over new texts, after a warm-up on others.

    The warm-up is as large as the work: the processes are started, and common words are known.
    """
    contestant(texts(request["size"], seed=1))
    given = texts(request["size"])
    started = time.perf_counter()
    tokens = contestant(given)
    elapsed = time.perf_counter() - started
    return {
        "elapsed_s": elapsed,
        "docs_s": len(given) / elapsed,
        "tokens": tokens / len(given),
        "digest": str(tokens),
    }


def sentence_transformer(device: str) -> Embed:
    """The limit: ``SentenceTransformer.encode`` in half precision, at its best batch size."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    from sage.libs.embedding import DEFAULT_MODEL
    from sage.libs.embedding.weights import resolve

    model = SentenceTransformer(str(resolve(DEFAULT_MODEL)), device=device, local_files_only=True)
    if device == "cuda":
        model = model.half()
    options = {"normalize_embeddings": True, "show_progress_bar": False}

    def encode(given: list[str], batch_size: int) -> npt.NDArray[np.float32]:
        vectors = model.encode(given, batch_size=batch_size, **options)
        return np.asarray(vectors, dtype=np.float32)

    best = 32  # the library's own, for a processor
    if device == "cuda":
        sample = texts(2 * _WINDOW, seed=2)
        encode(sample, 256)
        best = min((128, 512, 2048), key=lambda size: _seconds(encode, sample, size))
    return lambda given: encode(given, best)


def sage(device: str) -> Embed:
    """`GpuEmbedder` with its defaults."""
    return _sage(device, None)


def sage_in_one_process(device: str) -> Embed:
    """`GpuEmbedder` that tokenizes in its own process."""
    return _sage(device, 0)


def _sage(device: str, processes: int | None) -> Embed:
    from sage.libs.embedding import GpuEmbedder

    return GpuEmbedder(device=device, tokenizer_processes=processes).embed


def measure(contestant: Callable[[str], Embed], request: Request) -> Sample:
    """Time a contestant of G2: many texts, a hundred, ten and one; and compare its vectors.

    Where there is no CUDA device the sample only says so.
    """
    device = request["parameters"].get("device", "cuda")
    if device == "cuda" and (lacking := _lacking()) is not None:
        return {"skipped": lacking}
    embed = contestant(device)
    given = texts(request["size"])
    embed(texts(min(2 * _WINDOW + 1, request["size"]), seed=1))
    elapsed = _seconds(embed, given)
    hundred = given[:100]
    one_by_one = _seconds(lambda: [embed([text]) for text in hundred])
    batched = _median_ms(embed, [hundred])
    return {
        "elapsed_s": elapsed,
        "docs_s": len(given) / elapsed,
        "hundred_ms": batched,
        "ten_ms": _median_ms(embed, [given[n : n + 10] for n in range(0, 100, 10)]),
        "one_ms": _median_ms(embed, [[text] for text in hundred]),
        "batch_gain": one_by_one * 1000 / batched,
        "cosine": _least_cosine(embed, given[:_COMPARED]),
    }


def _lacking() -> str | None:
    import torch

    if torch.cuda.is_available():
        return None
    return f"torch {torch.__version__} sees no CUDA device here"


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def _median_ms(embed: Embed, batches: Sequence[list[str]]) -> float:
    embed(batches[0])
    times = [_seconds(embed, batches[n % len(batches)]) for n in range(_REPEATS)]
    return statistics.median(times) * 1000


def _least_cosine(embed: Embed, given: list[str]) -> float:
    from sage.libs.embedding.sentence_transformer import SentenceTransformerEmbedder

    expected = SentenceTransformerEmbedder().embed(given)
    return float((embed(given) * expected).sum(axis=1).min())


_HERE = "sage.benchmark.workloads.gpu_embedding"

TOKENS_ROW = Row(
    key="G1",
    title="tokenizing texts of 60 tokens, which is what a GPU waits for",
    limit="the library tokenizers on all cores",
    measure=f"{_HERE}:measure_tokens",
    size=32_768,
    quick_size=4_096,
    contestants=(
        Contestant(name="tokenizers", target=f"{_HERE}:tokenizers", role=Role.LIMIT),
        Contestant(
            name="SAGE",
            target=f"{_HERE}:words_remembered",
            role=Role.SAGE,
            judged=True,
            note="one process, which remembers words",
        ),
        Contestant(
            name="SAGE, two processes",
            target=f"{_HERE}:words_remembered_by_processes",
            role=Role.SAGE,
            note="as GpuEmbedder has them: one for each core but two",
        ),
    ),
    figures=(
        Figure(key="docs_s", label="docs/s", digits=0),
        Figure(key="tokens", label="tokens/doc", digits=1),
    ),
)

GPU_ROW = Row(
    key="G2",
    title="embedding texts of 60 tokens on a GPU, all-MiniLM-L6-v2 in float16",
    limit="SentenceTransformer.encode in float16 at its best batch size",
    measure=f"{_HERE}:measure",
    size=100_000,
    quick_size=5_000,
    contestants=(
        Contestant(
            name="sentence-transformers",
            target=f"{_HERE}:sentence_transformer",
            role=Role.LIMIT,
            needs="torch",
        ),
        Contestant(
            name="SAGE",
            target=f"{_HERE}:sage",
            role=Role.SAGE,
            needs="torch",
            judged=True,
        ),
        Contestant(
            name="SAGE, one process",
            target=f"{_HERE}:sage_in_one_process",
            role=Role.SAGE,
            needs="torch",
            note="tokenizes in the process that feeds the device",
        ),
    ),
    figures=(
        Figure(key="docs_s", label="docs/s", digits=0),
        Figure(key="hundred_ms", label="100 texts ms"),
        Figure(key="ten_ms", label="10 texts ms"),
        Figure(key="one_ms", label="1 text ms"),
        Figure(key="batch_gain", label="100 at once / one by one", digits=1),
        Figure(key="cosine", label="least cosine to float32", digits=5),
    ),
    targets=(
        Target(figure="docs_s", must=45_000, aim=100_000),
        Target(figure="ten_ms", must=4, aim=2, at_most=True),
        Target(figure="cosine", must=0.9999, aim=0.99999),
    ),
    compares_output=False,
    charted="docs_s",
)

"""E1 to E5: texts to vectors on the CPU, against sentence-transformers and onnxruntime by hand.

The model is all-MiniLM-L6-v2 for everybody, cut at 256 tokens, and everybody may use all cores.
Texts are made of the model's vocabulary, see `gpu_embedding.texts`. After the clock has stopped,
the vectors of some texts are compared with those that onnxruntime gives for each text alone.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from sage.benchmark.measuring import timed
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target
from sage.benchmark.workloads.embed_contestants import Embed, one_by_one

__all__ = [
    "FEW_ROW",
    "INT8_ROW",
    "MIXED_ROW",
    "SIXTY_ROW",
    "START_ROW",
    "measure_few",
    "measure_mixed",
    "measure_sixty",
    "measure_start",
    "mixed",
    "sixty",
]

_COMPARED = 24
_LEAST_COSINE = 0.9999
_LOSSY_COSINE = 0.97
_WARM_UP = 32


def sixty(count: int) -> list[str]:
    """Return texts of about sixty tokens."""
    from sage.benchmark.workloads.gpu_embedding import texts

    return texts(count)


def mixed(count: int) -> list[str]:
    """Return texts of 10 to 250 tokens, log-normal: half have less than 55, a tenth over 150."""
    import numpy as np

    lengths = np.random.default_rng(5).lognormal(np.log(55), 0.8, count).clip(10, 250)
    words = iter(" ".join(sixty(3 * count)).split() * 3)
    # A text has two special tokens, and a few words have more than one.
    return [" ".join(next(words) for _ in range(int((n - 2) * 0.93))) for n in lengths]


def measure_sixty(contestant: Callable[[], Embed], request: Request) -> Sample:
    """Embed texts of sixty tokens."""
    return _measured(contestant(), sixty(request["size"]), _least(request))


def measure_mixed(contestant: Callable[[], Embed], request: Request) -> Sample:
    """Embed texts of mixed lengths."""
    return _measured(contestant(), mixed(request["size"]), _least(request))


def measure_few(contestant: Callable[[], Embed], request: Request) -> Sample:
    """Embed ten texts, one question, and a hundred questions one by one and together."""
    embed, ten = contestant(), sixty(10)
    asked = [f"what is the boiling point of water at {n} metres" for n in range(100)]
    embed(ten), embed(asked)
    size = request["size"]
    sample: Sample = {
        "ten_ms": _median_ms(lambda: embed(ten), 3 * size),
        "ten_short_ms": _median_ms(lambda: embed(asked[:10]), 3 * size),
        "one_ms": _median_ms(lambda: embed(asked[:1]), 9 * size),
        "singly_ms": _median_ms(lambda: [embed([text]) for text in asked], size),
        "together_ms": _median_ms(lambda: embed(asked), size),
    }
    sample["gain"] = sample["singly_ms"] / sample["together_ms"]
    return sample


def measure_start(contestant: Callable[[], Embed], request: Request) -> Sample:
    """Load the model in this fresh process and embed one text, then a thousand short ones."""
    started = time.perf_counter()
    embed = contestant()
    embed(["a first text"])
    sample: Sample = {"start_s": time.perf_counter() - started, "start_mb": _peak_mb()}
    embed([f"number {n}" for n in range(request["size"])])
    return sample | {"peak_mb": _peak_mb()}


def _measured(embed: Embed, texts: list[str], least: float) -> Sample:
    sample, vectors = timed(embed, texts, min(_WARM_UP, len(texts)))
    sample |= {"docs_per_s": len(texts) / sample["elapsed_s"], "peak_mb": _peak_mb()}
    sample["cosine"] = _least_cosine(texts, vectors)
    if not sample["cosine"] >= least:
        raise ValueError(f"a vector has a cosine of {sample['cosine']:.5f}, not {least} or more")
    return sample


def _least_cosine(texts: Sequence[str], vectors: Any) -> float:
    """Return the least cosine with what onnxruntime gives for each text alone."""
    step = max(1, len(texts) // _COMPARED)
    expected = one_by_one()(texts[::step])
    return float((expected * vectors[::step]).sum(axis=1).min())


def _least(request: Request) -> float:
    return _LOSSY_COSINE if request["contestant"].endswith("int8") else _LEAST_COSINE


def _median_ms(work: Callable[[], Any], times: int) -> float:
    walls = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        walls.append(time.perf_counter() - started)
    return statistics.median(walls) * 1000


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


_HERE = "sage.benchmark.workloads.embed_rows"
_WHO = "sage.benchmark.workloads.embed_contestants"

_REFERENCE = Contestant(
    name="sentence-transformers",
    target=f"{_WHO}:sentence_transformer",
    role=Role.LIMIT,
    needs="torch",
    note="torch, float32, encode() as it comes: 32 texts at a time, sorted",
)
_UNSORTED = Contestant(
    name="onnxruntime, unsorted",
    target=f"{_WHO}:raw_unsorted",
    role=Role.LIMIT,
    note="by hand: 32 texts at a time as they come, our graph, its own threads",
)
_SORTED = Contestant(
    name="onnxruntime, sorted",
    target=f"{_WHO}:raw_sorted",
    role=Role.LIMIT,
    note="by hand: 32 texts at a time, sorted by length, our graph, its own threads",
)
_SAGE = Contestant(
    name="SAGE", target=f"{_WHO}:sage", role=Role.SAGE, judged=True, note="load_embedder()"
)
_OPENVINO = Contestant(
    name="SAGE, OpenVINO",
    target=f"{_WHO}:sage_openvino",
    role=Role.SAGE,
    needs="openvino",
    note="bfloat16 where the processor has it, else float32",
)
_ALL = (_REFERENCE, _UNSORTED, _SORTED, _SAGE, _OPENVINO)
_ENCODE = "SentenceTransformer.encode, torch float32"

_FIGURES = (
    Figure(key="docs_per_s", label="texts/s", digits=1),
    Figure(key="cosine", label="least cosine", digits=5),
    Figure(key="cpu_s", label="CPU s"),
    Figure(key="peak_mb", label="peak MB", digits=0),
)

SIXTY_ROW = Row(
    key="E1",
    title="embed 512 texts of 60 tokens",
    limit=_ENCODE,
    measure=f"{_HERE}:measure_sixty",
    size=512,
    quick_size=16,
    contestants=_ALL,
    figures=_FIGURES,
    targets=(
        Target(figure="ratio", must=1.1, aim=1.4),
        Target(figure="docs_per_s", must=50, aim=100),
        Target(figure="cosine", must=_LEAST_COSINE, aim=_LEAST_COSINE),
    ),
    compares_output=False,
)

MIXED_ROW = Row(
    key="E2",
    title="embed 512 texts of mixed lengths: 10 to 250 tokens, log-normal",
    limit=_ENCODE,
    measure=f"{_HERE}:measure_mixed",
    size=512,
    quick_size=16,
    contestants=_ALL,
    figures=_FIGURES,
    targets=(
        Target(figure="ratio", must=1.5, aim=4),
        Target(figure="cosine", must=_LEAST_COSINE, aim=_LEAST_COSINE),
    ),
    compares_output=False,
)

FEW_ROW = Row(
    key="E3",
    title="few texts, ms: ten of 60 tokens, questions of 12 alone, by ten and by a hundred",
    limit=_ENCODE,
    measure=f"{_HERE}:measure_few",
    size=3,
    quick_size=1,
    contestants=(_REFERENCE, _SORTED, _SAGE),
    figures=(
        Figure(key="ten_ms", label="ten of 60", digits=1),
        Figure(key="ten_short_ms", label="ten questions", digits=1),
        Figure(key="one_ms", label="a question", digits=1),
        Figure(key="singly_ms", label="100 one by one", digits=0),
        Figure(key="together_ms", label="100 together", digits=0),
        Figure(key="gain", label="one by one / together", digits=1),
    ),
    compares_output=False,
    charted="",
    most_rounds=3,
)

INT8_ROW = Row(
    key="E4",
    title="LOSSY: the same 60-token texts in 8 bits, other vectors under another model id",
    limit=_ENCODE,
    measure=f"{_HERE}:measure_sixty",
    size=512,
    quick_size=16,
    contestants=(
        _REFERENCE,
        Contestant(
            name="SAGE, int8",
            target=f"{_WHO}:sage_int8",
            role=Role.SAGE,
            note="LOSSY: MODEL@int8, dynamic quantization, text by text",
        ),
    ),
    figures=_FIGURES,
    compares_output=False,
)

START_ROW = Row(
    key="E5",
    title="start: import, load and embed one text in a fresh process; then a thousand short ones",
    limit=_ENCODE,
    measure=f"{_HERE}:measure_start",
    size=1000,
    quick_size=10,
    contestants=(_REFERENCE, _SORTED, _SAGE, _OPENVINO),
    figures=(
        Figure(key="start_s", label="s to the first vector"),
        Figure(key="start_mb", label="MB then", digits=0),
        Figure(key="peak_mb", label="MB after a thousand", digits=0),
    ),
    compares_output=False,
    charted="start_s",
    most_rounds=3,
)

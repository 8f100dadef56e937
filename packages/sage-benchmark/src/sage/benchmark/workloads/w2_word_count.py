"""W2: word count; 1.6 M words, Zipf-distributed, and after each the running count of its word."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Sequence
from typing import Any

from sage.benchmark.measuring import Pipeline, digest, timed
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

__all__ = ["ROW", "by_hand", "measure", "sage", "sage_calling", "word_of", "words"]

VOCABULARY = 50_000
EXPONENT = 1.1
SEED = 20
WARM_UP = 5_000


def word_of(token: str) -> str:
    """The user's key function, the same for everybody."""
    return token


def words(scratch: str, size: int) -> list[str]:
    """Return ``size`` words, read from a file in ``scratch`` that the first caller writes.

    Each word is a string of its own, as it would be when read from a text.
    """
    path = os.path.join(scratch, f"words-{size}.txt")
    if not os.path.exists(path):
        weights = itertools.accumulate((rank + 1) ** -EXPONENT for rank in range(VOCABULARY))
        vocabulary = [f"word{number:05d}" for number in range(VOCABULARY)]
        chosen = random.Random(SEED).choices(vocabulary, cum_weights=list(weights), k=size)
        partial = f"{path}.{os.getpid()}"
        with open(partial, "w") as file:
            file.write(" ".join(chosen))
        os.replace(partial, path)
    with open(path) as file:
        return file.read().split()


def by_hand(records: Sequence[str]) -> list[tuple[str, int]]:
    """The limit: a dict of counts and one loop."""
    counts: dict[str, int] = {}
    output: list[tuple[str, int]] = []
    emit = output.append
    for token in records:
        word = word_of(token)
        count = counts[word] + 1 if word in counts else 1
        counts[word] = count
        emit((word, count))
    return output


def sage(records: Sequence[str]) -> list[tuple[str, int]]:
    """The same in SAGE."""
    return _sage(records, inline=True)


def sage_calling(records: Sequence[str]) -> list[tuple[str, int]]:
    """The same, with the key function called for each record."""
    return _sage(records, inline=False)


def _sage(records: Sequence[str], *, inline: bool) -> list[tuple[str, int]]:
    from sage.kernel import LocalEnvironment

    output: list[tuple[str, int]] = []
    env = LocalEnvironment(config={"inline": inline})
    env.from_collection(records).key_by(word_of).count().sink(output.append)
    env.execute()
    return output


def measure(contestant: Pipeline, request: Request) -> Sample:
    """Time one contestant over the words.

    Everybody must agree on the final count of each word; who emits one count a word read must
    agree on all of these too.
    """
    tokens = words(request["scratch"], request["size"])
    sample, output = timed(contestant, tokens, WARM_UP)
    sample["outputs"] = len(output)
    if request["verify"]:
        sample["digest"] = digest(_final(output).items())
        if len(output) == len(tokens):
            sample["running_digest"] = digest(output)
    return sample


def _final(output: Sequence[Any]) -> dict[str, int]:
    final: dict[str, int] = {}
    for word, count in output:
        if count > final.get(word, 0):
            final[word] = int(count)
    return final


_HERE = "sage.benchmark.workloads.w2_word_count"
_PEERS = "sage.benchmark.peers"

ROW = Row(
    key="W2",
    title="word count: 1.6 M Zipf words, key_by, running count, sink",
    limit="a dict and one hand-written loop",
    measure=f"{_HERE}:measure",
    size=1_600_000,
    quick_size=2_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
        Contestant(
            name="SAGE, no inlining",
            target=f"{_HERE}:sage_calling",
            role=Role.SAGE,
            note="inline=False: calls the key function, as the hand-written loop does",
        ),
        Contestant(
            name="bytewax, hand-batched",
            target=f"{_PEERS}.bytewax_peer:w2_batched",
            role=Role.PEER,
            needs="bytewax",
            note="stateful_batch, whose logic gets lists",
        ),
        Contestant(
            name="bytewax",
            target=f"{_PEERS}.bytewax_peer:w2",
            role=Role.PEER,
            needs="bytewax",
            note="key_on, stateful_map; source gives batches of 1,024",
        ),
        Contestant(
            name="pathway",
            target=f"{_PEERS}.pathway_peer:w2",
            role=Role.PEER,
            needs="pathway",
            note="reads a file and counts in Rust; final counts only: less work than the rest",
        ),
        Contestant(
            name="streamz",
            target=f"{_PEERS}.streamz_peer:w2",
            role=Role.PEER,
            needs="streamz",
            note="accumulate over a dict",
        ),
        Contestant(
            name="Ray Data",
            target=f"{_PEERS}.ray_peer:w2",
            role=Role.PEER,
            needs="ray",
            note="groupby().count(); final counts only: less work than the rest",
        ),
    ),
    figures=(
        Figure(key="m_records_per_s", label="M records/s"),
        Figure(key="ns_per_record", label="ns/record", digits=0),
    ),
    targets=(Target(figure="ratio", must=0.75, aim=1.0),),
)

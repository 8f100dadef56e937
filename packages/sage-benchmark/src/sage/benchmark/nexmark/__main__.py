"""``python -m sage.benchmark.nexmark``: run the queries once and compare every result.

It ends with 1 if a result differs. ``sage bench nexmark`` measures instead, in many rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from sage.benchmark.nexmark.catalog import QUERIES, Query
from sage.benchmark.nexmark.generator import Traffic, generate
from sage.benchmark.nexmark.verification import compare, run

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, queries: Mapping[str, Query] = QUERIES) -> int:
    """Compare the queries that the arguments ask for; return the exit code.

    Args:
        arguments: As on the command line; None takes those.
        queries: Which there are, by name.
    """
    options = _parser(queries).parse_args(arguments)
    traffic = Traffic(events_per_s=options.rate)
    events = list(generate(options.events, seed=options.seed, traffic=traffic))
    wrong = 0
    for name in options.queries:
        query = queries[name]
        started = time.perf_counter()
        emitted = run(query, events, parallelism=options.parallelism)
        elapsed_s = time.perf_counter() - started
        difference = compare(query, events, emitted)
        verdict = f"DIFFERENT: {difference}" if difference else "equal"
        rate = len(events) / elapsed_s
        print(f"{name:4} {rate:12,.0f} events/s {len(emitted):10,} rows  {verdict}", flush=True)
        wrong += bool(difference)
    return 1 if wrong else 0


def _parser(queries: Mapping[str, Query]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sage.benchmark.nexmark",
        description="Run Nexmark queries and compare their results with the batch reference.",
    )
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--seed", type=int, default=7, metavar="N")
    parser.add_argument("--rate", type=int, default=1_000, metavar="N", help="events in a second")
    parser.add_argument("--parallelism", type=int, default=1, metavar="N")
    parser.add_argument(
        "--queries",
        type=_names_among(queries),
        default=list(queries),
        metavar="q3,q5",
        help=f"any of {', '.join(queries)}",
    )
    return parser


def _names_among(queries: Mapping[str, Query]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in queries]:
            known = ", ".join(queries)
            raise argparse.ArgumentTypeError(
                f"there is no query {', '.join(unknown)}; there are {known}"
            )
        return chosen

    return names


if __name__ == "__main__":
    sys.exit(main())

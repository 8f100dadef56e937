"""The endpoint answers after its latency and counts what is in flight."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

from sage.benchmark.llm_endpoint import endpoint


def test_it_counts_calls_and_how_many_were_in_flight(tmp_path: Path) -> None:
    """Three clients at once are three in flight; runs are counted apart."""
    with endpoint(str(tmp_path), latency_s=0.05) as parameters:
        server = f"http://{parameters['host']}:{parameters['port']}"

        def fetch(path: str) -> str:
            with urlopen(server + path) as response:
                return str(response.read().decode())

        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(fetch, [f"/call/first/{n}" for n in range(3)]))
        assert answers == ["answer 0", "answer 1", "answer 2"]
        first = json.loads(fetch("/stats/first"))
        assert first["calls"] == 3
        assert 1 <= first["highest_in_flight"] <= 3
        assert json.loads(fetch("/stats/second"))["calls"] == 0

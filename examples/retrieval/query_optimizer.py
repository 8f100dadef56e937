"""Expensive queries on an event loop: kept for a time, shared while they run, refreshed ahead.

It prints:

    searching: machine learning
    ['Machine learning finds patterns.']
    5 at once:
    searching: machine learning
    5 answers
    Cache hit rate: 14.29%
    Deduplication hits: 4
"""

import asyncio

from sage.common.records import Retrieved
from sage.libs.cache import QueryOptimizer
from sage.middleware.rag.operators import HybridRetriever

DOCUMENTS = ["Machine learning finds patterns.", "Bees live in hives.", "Tin melts early."]


async def main() -> None:
    """Ask one query again and again."""
    backend = HybridRetriever(documents=DOCUMENTS, top_k=1)
    optimizer = QueryOptimizer(cache_ttl=300, enable_prefetch=True)

    # Execute query with caching
    async def expensive_query(query: str) -> Retrieved:
        print("searching:", query)
        return await asyncio.to_thread(backend.map, query)

    for _ in range(2):
        result = await optimizer.execute_query("query_key", expensive_query, "machine learning")
    print([passage.text for passage in result])

    # Concurrent identical queries (deduplicated)
    print("5 at once:")
    optimizer.invalidate_cache("query_key")
    tasks = [optimizer.execute_query("key", expensive_query, "machine learning") for _ in range(5)]
    results = await asyncio.gather(*tasks)  # Only 1 actual query executed
    print(len(results), "answers")

    # Invalidate cache
    optimizer.invalidate_cache("query_key")  # Specific key
    optimizer.invalidate_cache()  # All keys

    # Statistics
    stats = optimizer.get_stats()
    print(f"Cache hit rate: {stats['cache_hit_rate']:.2%}")
    print(f"Deduplication hits: {stats['dedup_hits']}")


asyncio.run(main())

"""Answers that were worked out before: a bounded cache in which equal queries wait for one another.

Not here: what is cached, and under which key. The cache does not know when the data behind an
answer changes; whoever changes them calls `QueryCache.invalidate`, or gives a time to live.

Layout::

    query_cache.py      QueryCache: one computation for equal queries, synchronous or not
    single_flight.py    the flight that equal queries wait for
    query_optimizer.py  QueryOptimizer: the same for async functions, with refresh-ahead
    query_key.py        a key made of a question and its options
    store.py            the protocol of what keeps the answers
    lru_store.py        in this process: least recently used, with a time to live
    redis_store.py      in Redis, shared by processes
    typed_codec.py      values to bytes and back with their types
    statistics.py       how often it helped
"""

from __future__ import annotations

from sage.libs.cache.lru_store import LruStore
from sage.libs.cache.query_cache import QueryCache
from sage.libs.cache.query_key import query_key
from sage.libs.cache.query_optimizer import QueryOptimizer
from sage.libs.cache.statistics import CacheStatistics

__all__ = ["CacheStatistics", "LruStore", "QueryCache", "QueryOptimizer", "query_key"]

"""Repeated questions are searched once: a cache around a function, and around a retriever.

Give ``QueryCache`` a ``url="redis://localhost:6379/0"`` and all processes share what is kept, with
its types; then say ``value_type=Retrieved`` for what a retriever returns.

It prints:

    searching 'What is tin?'
    2 answers, 1 search, hit rate 50%
    the retriever searched: [True, False, False]
"""

from sage.common.records import Retrieved
from sage.libs.cache import QueryCache
from sage.middleware.rag.operators import BM25Retriever, CachedRetriever

DOCUMENTS = ["Tin is a soft metal.", "Salt is won from sea water.", "Amber is resin."]


class CachedRAGSystem:
    """Any object with a slow method."""

    def __init__(self) -> None:
        self.rag_system = BM25Retriever(documents=DOCUMENTS, top_k=1)
        self.cache = QueryCache(ttl_s=3600)  # 1 hour
        self.query = self.cache.cached(self._query)

    def _query(self, question: str, **options: object) -> Retrieved:
        print(f"searching {question!r}")
        return self.rag_system.map({"query": question, **options})


cached_rag = CachedRAGSystem()
answers = [cached_rag.query("What is tin?") for _ in range(2)]
statistics = cached_rag.cache.statistics()
print(f"{len(answers)} answers, {statistics.misses} search, hit rate {statistics.hit_rate:.0%}")

# A retriever on a stream does not need the function: the cache is an operator around it.
retriever = CachedRetriever(BM25Retriever(documents=DOCUMENTS), ttl_s=3600)
steps = [retriever.map(q).steps[-1] for q in ("amber?", "amber?", " amber? ")]
print("the retriever searched:", [not step.detail["cached"] for step in steps])

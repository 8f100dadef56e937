"""The FAISS index that fits the size: exact, then inverted lists, then a graph.

``FaissStore`` compares exactly below 1,000 rows, uses inverted lists (IVF) below 10,000 and a graph
(HNSW) above, and says which; nothing has to be chosen, trained or rebuilt by hand.

It prints:

       500 rows: flat, recall@10 at least .9: True
     5,000 rows: ivf, recall@10 at least .9: True
    10,500 rows: hnsw, recall@10 at least .9: True
"""

import numpy as np

from sage.libs.vectors.faiss_store import FaissStore
from sage.libs.vectors.numpy_store import NumpyStore

DIM, NEAREST = 64, 10
random = np.random.default_rng(7)
# Clusters, as the vectors of texts have them.
centres = random.normal(size=(50, DIM))
vectors = centres[random.integers(0, 50, 10_500)] + 0.5 * random.normal(size=(10_500, DIM))
queries = vectors[:50] + 0.1 * random.normal(size=(50, DIM))


def recall(rows: int, store: FaissStore) -> float:
    """Return how many of the exact nearest neighbours the store finds."""
    exact = NumpyStore(dim=DIM)
    exact.upsert(ids[:rows], vectors[:rows])
    pairs = zip(store.search(queries, NEAREST), exact.search(queries, NEAREST), strict=True)
    common = [len({hit.id for hit in a} & {hit.id for hit in b}) for a, b in pairs]
    return sum(common) / NEAREST / len(common)


ids = [str(n) for n in range(len(vectors))]
store = FaissStore(dim=DIM)
before = 0
for rows in (500, 5_000, 10_500):
    store.upsert(ids[before:rows], vectors[before:rows])
    before = rows
    is_good = recall(rows, store) >= 0.9
    print(f"{rows:6,} rows: {store.index_kind}, recall@10 at least .9: {is_good}")

"""Embedding many texts: give the embedder the whole list, it fills the batches.

A loop over slices of 32 or 64 texts is not needed: the embedder sorts by length and fills batches
up to a token budget, so that little is computed for padding. ``backend="gpu"`` computes on a GPU
where there is one; the vectors are the same.

It prints:

    200 texts, 384 numbers each
    the same as one by one: True
"""

import numpy as np

from sage.libs.embedding import load_embedder

embedder = load_embedder("sentence-transformers/all-MiniLM-L6-v2", backend="auto")

texts = ["Sample text", *(f"Sample text {n}, {'longer ' * (n % 7)}" for n in range(1, 200))]
embeddings = embedder.embed(texts)

print(f"{len(embeddings)} texts, {embedder.dim} numbers each")
alone = np.concatenate([embedder.embed([text]) for text in texts[:20]])
print("the same as one by one:", bool(np.allclose(alone, embeddings[:20], atol=1e-3)))

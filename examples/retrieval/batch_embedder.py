"""Many callers, one text each: shared batches, a cache, a background queue.

``model`` is any embedder, or any object with ``encode(texts)`` such as a ``SentenceTransformer``.

It prints:

    one text: (384,)
    a batch: (4, 384)
    in the background: 100 texts, at most 10 batches: True
    Cache hit rate: 49.27%
"""

import asyncio

from sage.libs.embedding import BatchEmbedder, load_embedder


async def main() -> None:
    """Embed in each of the three ways."""
    model = load_embedder("sentence-transformers/all-MiniLM-L6-v2")
    embedder = BatchEmbedder(model, batch_size=32, cache_size=1000)

    # Single embedding with caching
    embedding = await embedder.embed_text("Query text")
    print("one text:", embedding.shape)

    # Batch embedding
    texts = ["text 1", "text 2", "text 3", "Query text"]
    embeddings = await embedder.embed_batch(texts)
    print("a batch:", embeddings.shape)

    # Background processing
    before = embedder.get_stats()
    await embedder.start_background_processor()
    queries = [f"Background query {n}" for n in range(100)]
    await asyncio.gather(*(embedder.embed_text(query) for query in queries))  # queued and batched
    await embedder.stop_background_processor()
    now = embedder.get_stats()
    batches = now["batches"] - before["batches"]
    texts_embedded = now["texts_embedded"] - before["texts_embedded"]
    print(f"in the background: {texts_embedded} texts, at most 10 batches: {batches <= 10}")

    # Statistics
    await embedder.embed_batch(queries)  # all of them are kept
    stats = embedder.get_stats()
    print(f"Cache hit rate: {stats['cache_hit_rate']:.2%}")


asyncio.run(main())

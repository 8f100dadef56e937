"""Work that is cheaper together: ``map_batches``.

It prints:

    batches of 4, 4, 2
    river -> [5, 4]
    a -> [1, 1]
"""

from sage.kernel import LocalEnvironment, MapFunction

WORDS = ["river", "sea", "a", "lake", "pond", "brook", "stream", "ocean", "bay", "gulf"]
sizes: list[int] = []


class FakeEmbedder(MapFunction[list[str], list[tuple[str, list[int]]]]):
    """Stands in for a model: a list of texts in, a vector for each of them out."""

    def map(self, texts):
        sizes.append(len(texts))
        return [(text, [len(text), len(set(text))]) for text in texts]


env = LocalEnvironment("embedding")
# A batch is worked off when it is full or, with max_wait_ms, when its first record has waited.
vectors = dict(env.from_collection(WORDS).map_batches(FakeEmbedder, max_size=4).collect())
print("batches of", ", ".join(map(str, sizes)))
for word in ("river", "a"):
    print(f"{word} -> {vectors[word]}")

"""State for each key: ``key_by`` with ``aggregate`` and ``count``.

It prints:

    readings: kitchen 3, cellar 2
    means: kitchen 21.0, cellar 9.0
"""

from sage.kernel import AggregateFunction, LocalEnvironment

READINGS = [("kitchen", 20), ("cellar", 8), ("kitchen", 21), ("cellar", 10), ("kitchen", 22)]


class Mean(AggregateFunction[tuple[str, int], tuple[str, int, int], tuple[str, float]]):
    """The mean of the second field; the accumulator is (room, sum, count)."""

    def create(self):
        return ("", 0, 0)

    def add(self, acc, record):
        return (record[0], acc[1] + record[1], acc[2] + 1)

    def result(self, acc):
        return (acc[0], acc[1] / acc[2])

    def merge(self, a, b):
        return (a[0] or b[0], a[1] + b[1], a[2] + b[2])


env = LocalEnvironment("rooms")
by_room = env.from_collection(READINGS).key_by(lambda reading: reading[0])
# Folds emit a new value for every record; the last one of a key is what it has come to.
counts = dict(by_room.count().collect())
means = dict(by_room.aggregate(Mean).collect())
print("readings:", ", ".join(f"{room} {count}" for room, count in counts.items()))
print("means:", ", ".join(f"{room} {mean}" for room, mean in means.items()))

"""One question, several retrievers, one answer: ``union`` and ``gather``.

It prints:

    rivers: nile (2 of 2), volga (1 of 2)
    lakes: baikal (2 of 2)
"""

from collections import Counter

from sage.kernel import Gathered, LocalEnvironment

DENSE = {"rivers": ["nile", "volga"], "lakes": ["baikal"]}
SPARSE = {"rivers": ["nile"], "lakes": ["baikal"]}


def fused(group: Gathered) -> str:
    """Rank what was found by the number of retrievers that found it."""
    votes = Counter(hit for _, hits in group.results for hit in hits)
    ranked = ", ".join(f"{hit} ({n} of {len(group.results)})" for hit, n in votes.most_common())
    return f"{group.key}: {ranked}"


env = LocalEnvironment("fusion")
questions = env.from_collection(["rivers", "lakes"], name="questions")
dense = questions.map(lambda question: (question, DENSE[question]), name="dense")
sparse = questions.map(lambda question: (question, SPARSE[question]), name="sparse")
both = dense.union(sparse)
both.gather(by=lambda result: result[0], expected=2).map(fused).print()
env.execute()

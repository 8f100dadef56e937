"""Records that go round until they are good enough: ``iterate``.

It prints:

    1 round: SAGE streams records.
    3 rounds: Streams have operators that hold state.
"""

from dataclasses import dataclass, replace

from sage.kernel import LocalEnvironment

MOST_WORDS = 6


@dataclass(frozen=True)
class Draft:
    text: str
    rounds: int = 0


def is_short(draft: Draft) -> bool:
    return len(draft.text.split()) <= MOST_WORDS


def shortened(draft: Draft) -> Draft:
    """Stands in for a model that is asked to say it shorter: leaves one filler word out."""
    words = draft.text.split()
    filler = next((word for word in words if word in ("really", "very", "just")), None)
    if filler is not None:
        words.remove(filler)
    return replace(draft, text=" ".join(words), rounds=draft.rounds + 1)


TEXTS = ["SAGE really streams records.", "Streams very really just have operators that hold state."]
drafts = LocalEnvironment("summaries").from_collection(TEXTS).map(Draft)
final = drafts.iterate(lambda s: s.map(shortened), until=is_short, max_iterations=5)
for draft in sorted(final.collect(), key=lambda draft: draft.rounds):
    print(f"{draft.rounds} round{'s' if draft.rounds > 1 else ''}: {draft.text}")

"""Quotable sentences: what is read out of Markdown reads like prose, and stands where it says."""

from __future__ import annotations

import pytest

from sage.common.records import Passage
from sage.libs.generation.quotable import quotable_sentences, readable

GUIDE = """# Guide

Intro with **bold**, _stress_, a [link](a.md "t") and ![img](x.png)the end.

## Layers ##

| layer | what lives there |
|-------|------------------|
| L1    | function contracts and errors |

> Quoted text reads
> well too.

A map function may:

- return a record
- return `None`, which gives no output.

```python
# This line of code is not a sentence at all.
value = compute(1)
```

<!-- a hidden remark for editors -->
It was known since 1924.[3] It may index `x[1]` there [citation needed].
"""


def texts(*passages: Passage | str) -> list[str]:
    given = tuple(Passage(p) if isinstance(p, str) else p for p in passages)
    return [s.text for s in quotable_sentences(given)]


def test_markup_and_code_are_not_quoted() -> None:
    """Headings, rulings, fences and comments are left out; the rest loses its markup."""
    assert texts(GUIDE) == [
        "Intro with bold, stress, a link and the end.",
        "L1: function contracts and errors",
        "Quoted text reads well too.",
        "A map function may: return a record; return `None`, which gives no output",
        "It was known since 1924.",
        "It may index `x[1]` there.",
    ]


def test_a_sentence_knows_its_heading_and_place() -> None:
    """The nearest heading above is its context, the passage's own one until then."""
    passage = Passage(
        "It ends well here.\n\n# B\n\nIt starts here again.", metadata={"heading": "A"}
    )
    first, second = quotable_sentences((passage,))
    assert (first.heading, second.heading) == ("A", "B")
    assert passage.text[second.offset :].startswith("It starts here")


def test_what_overlapping_passages_share_is_quoted_once() -> None:
    """The better passage keeps the sentence."""
    found = quotable_sentences(
        (Passage("Water boils here. Iron rusts here."), Passage("Iron rusts here."))
    )
    assert [(s.text, s.number) for s in found] == [
        ("Water boils here.", 1),
        ("Iron rusts here.", 1),
    ]


def test_a_passage_cut_in_the_middle_of_code_or_of_a_sentence_is_read_from_the_next() -> None:
    """What precedes the closing fence is code; half a sentence is left out."""
    assert texts("return the final value here\n```\nThen it is over.") == ["Then it is over."]
    assert texts(Passage("and so it ends here. It begins here.", start=40)) == ["It begins here."]


def test_fragments_are_not_quoted() -> None:
    """Too short to say something by itself: left out; Chinese counts in characters."""
    assert texts("Yes. See below.\n\n- `x`\n- one item that says something") == [
        "one item that says something"
    ]
    assert texts("检查点在故障之后恢复状态。是的。") == ["检查点在故障之后恢复状态。"]


def test_navigation_is_not_quoted() -> None:
    """What consists of links mostly says nothing itself."""
    assert texts(
        "| do it | [Run offline](a.md), [index documents](b.md), [operators](c.md) |\n\n"
        "- [The first long chapter](d.md)\n\nThe [guide](e.md) says how it is done.\n"
    ) == ["The guide says how it is done."]


def test_a_long_list_is_cut_with_an_ellipsis() -> None:
    """An announced list is quoted as far as it is readable, and shows that it goes on."""
    (text,) = texts(
        "These are they:\n\n" + "".join(f"- item number {n} of many\n" for n in range(40))
    )
    assert text.startswith("These are they: item number 0 of many; item number 1 of many;")
    assert text.endswith("; …")
    assert len(text) < 400


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("1. first _thing_", "first thing"),
        ("- [x] done at last", "done at last"),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
        ("a < b and c > d", "a < b and c > d"),
        ("use `**kwargs` and **kwargs", "use `**kwargs` and **kwargs"),
        ("see [`x`](a.md) and <b>c</b>", "see `x` and c"),
        ("It *boils* at 100", "It boils at 100"),
    ],
)
def test_only_markup_is_taken_off(markdown: str, text: str) -> None:
    """Stars, underlines and angles that are part of the text stay."""
    assert readable(markdown) == text

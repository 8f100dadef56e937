"""Every way to cut keeps the promises of a chunker, and cuts where it says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sage.common.errors import ConfigError, UnknownNameError
from sage.common.records import Document
from sage.common.registry import registry
from sage.libs.documents import (
    CharacterTokenizer,
    Chunker,
    CodeChunker,
    FixedChunker,
    HeadingChunker,
    MediaTypeChunker,
    RecursiveChunker,
    SemanticChunker,
    SentenceChunker,
    TokenChunker,
    Tokenizer,
    WordTokenizer,
    open_chunker,
)
from sage.libs.documents.definitions import Region, regions_by_shape, regions_of
from sage.libs.documents.testing import check_chunker, check_chunks
from sage.libs.embedding import MockTextEmbedder

Make = Callable[[int, Tokenizer], Chunker]
WORDS = WordTokenizer()
MAKERS: dict[str, Make] = {
    "auto": lambda n, t: MediaTypeChunker(chunk_tokens=n, tokenizer=t),
    "code": lambda n, t: CodeChunker(chunk_tokens=n, tokenizer=t),
    "python": lambda n, t: CodeChunker(chunk_tokens=n, tokenizer=t, language="python"),
    "fixed": lambda n, t: FixedChunker(chunk_tokens=n, tokenizer=t),
    "heading": lambda n, t: HeadingChunker(chunk_tokens=n, tokenizer=t),
    "recursive": lambda n, t: RecursiveChunker(chunk_tokens=n, tokenizer=t),
    "semantic": lambda n, t: SemanticChunker(
        chunk_tokens=n, tokenizer=t, cut_share=0.3, embedder=MockTextEmbedder(fixed_dim=8)
    ),
    "sentence": lambda n, t: SentenceChunker(chunk_tokens=n, tokenizer=t),
    "token": lambda n, t: TokenChunker(chunk_tokens=n, overlap_tokens=0, tokenizer=t),
}
OVERLAPPING: dict[str, Make] = {
    "fixed": lambda n, t: FixedChunker(chunk_tokens=n, overlap_tokens=n // 2, tokenizer=t),
    "recursive": lambda n, t: RecursiveChunker(chunk_tokens=n, overlap_tokens=n // 2, tokenizer=t),
    "sentence": lambda n, t: SentenceChunker(
        chunk_sentences=4, overlap_sentences=2, chunk_tokens=n, tokenizer=t
    ),
    "token": lambda n, t: TokenChunker(chunk_tokens=n, overlap_tokens=n // 2, tokenizer=t),
}
PIECES = [
    *[
        "word",
        "Water boils. ",
        "It is 3.5 degrees! ",
        "水在一百度沸腾。",
        "水",
        "。",
        "，",
        " ",
        "\n",
    ],
    *["\n", "\n\n", "# Title\n", "## 标题\n\n", "### C\n", "Under\n===\n", "```\n", "- item\n"],
    *["def f(x):\n", "    return x\n", "class C:\n", "  def g(self): ...\n", "@cached\n", "# c\n"],
    *["function f() {\n", "}\n", "int main()\n{\n", "x = (\n", ")\n", "\r\n", '"""', "a" * 300],
    *["\t", "\u2028", "\u3000", "🙂", "\x00", "\x0c", "e.g. ", "\\d"],
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=100)
TOKENIZERS = st.sampled_from([WORDS, CharacterTokenizer()])


@pytest.mark.parametrize("name", MAKERS)
def test_every_chunker_conforms(name: str) -> None:
    """Each passes the conformance checks that a chunker from elsewhere would be given."""
    check_chunker(MAKERS[name], overlapping=name == "auto")


@given(TEXTS, st.integers(8, 40), TOKENIZERS, st.sampled_from(sorted(MAKERS)))
@settings(max_examples=400)
@example("# A\n\n## B\n\n### C\n\n" * 9 + "one two three", 8, WORDS, "heading")
@example("class A:\n    '''\ntext\n'''\n    def f(self): pass\n    x = 1\n" * 9, 8, WORDS, "python")
def test_chunks_tile_the_source(text: str, size: int, tokenizer: Any, name: str) -> None:
    """Between chunks there is nothing but blanks, offsets are exact, and none is too long."""
    document = Document(text, "d", "s", {"media_type": "text/markdown"})
    chunks = MAKERS[name](size, tokenizer).chunk(document)
    check_chunks(document, chunks, tokenizer, size, overlapping=name == "auto", what=name)


@given(TEXTS, st.integers(8, 40), TOKENIZERS, st.sampled_from(sorted(OVERLAPPING)))
@settings(max_examples=150)
def test_chunks_overlap_where_asked(text: str, size: int, tokenizer: Any, name: str) -> None:
    """With overlap nothing is lost either, and each chunk says something new."""
    document = Document(text, "d", "s")
    chunks = OVERLAPPING[name](size, tokenizer).chunk(document)
    check_chunks(document, chunks, tokenizer, size, overlapping=True, what=name)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("line", ["word ", "水。", "a", "#\n", "def f():\n", "}\n", " {\n", "\n"])
def test_work_is_linear_in_the_text(line: str, name: str) -> None:
    """Four times the text takes about four times as many calls, whatever it consists of."""
    chunker = MAKERS[name](20, WORDS)

    def calls(repeats: int) -> int:
        count = 0

        def seen(frame: Any, event: str, argument: Any) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        document = Document(line * repeats)
        sys.setprofile(seen)
        try:
            chunker.chunk(document)
        finally:
            sys.setprofile(None)
        return count

    calls(100)
    assert calls(2_000) < 6 * calls(500)


def texts(chunker: Chunker, text: str, **metadata: Any) -> list[str]:
    return [chunk.text for chunk in chunker.chunk(Document(text, metadata=metadata))]


def test_sentences_are_counted_and_repeated() -> None:
    """So many sentences to a chunk, the last of which open the next one."""
    chunker = SentenceChunker(chunk_sentences=3, overlap_sentences=1, tokenizer=WORDS)
    assert texts(chunker, "One. Two. 三。四。Five.") == ["One. Two. 三。", "三。四。Five."]


def test_the_largest_section_that_fits_is_a_chunk() -> None:
    """Subsections stay together if all of them fit, else each is a chunk, under its headings."""
    text = (
        "# A\n\n## B\n\nOne.\n\n## C\n\nTwo.\n\n# D\n\n## E\n\n"
        + "Long words. " * 6
        + "\n\n## F\nX."
    )
    chunks = HeadingChunker(chunk_tokens=24, tokenizer=WORDS).chunk(Document(text))
    assert [(c.text.split(), c.metadata["heading"]) for c in chunks] == [
        (["#", "A", "##", "B", "One.", "##", "C", "Two."], "A > B"),
        (["#", "D", "##", "E", *["Long", "words."] * 6], "D > E"),
        (["##", "F", "X."], "D > F"),
    ]


def test_separators_are_tried_in_order() -> None:
    """A piece that fits is not cut at a worse separator, and pieces are put together again."""
    chunker = RecursiveChunker(separators=("|", ","), chunk_tokens=8, tokenizer=WORDS)
    assert texts(chunker, "a,b|c,d|e f g h,i j k l,m|n") == [
        "a,b|c,d|",
        "e f g h,",
        "i j k l,m|",
        "n",
    ]
    with pytest.raises(ConfigError, match="not empty"):
        RecursiveChunker(separators=("",), tokenizer=WORDS)


PYTHON = '''\
"""Docs."""
import os

# About f.
@cached
def f(x):
    """Has
no = "indentation"
    """
    return x

LIMIT = 3

class Cache:
    """Keeps."""
    size = 1

    # Gets.
    def get(self, key):
        return key

    async def put(self, key):
        return None
'''


def test_python_is_cut_into_definitions() -> None:
    """Comments and decorators belong to what they stand above; a long class is cut at methods."""
    chunker = MediaTypeChunker(chunk_tokens=30, tokenizer=WORDS)
    chunks = chunker.chunk(Document(PYTHON, metadata={"media_type": "text/x-python"}))
    assert [(c.metadata.get("definition"), c.text.split("\n")[0]) for c in chunks] == [
        (None, '"""Docs."""'),
        ("f", "# About f."),
        (None, "LIMIT = 3"),
        ("Cache", "class Cache:"),
        ("Cache.get", "# Gets."),
        ("Cache.put", "async def put(self, key):"),
    ]
    assert [chunk.metadata["line"] for chunk in chunks] == [1, 4, 12, 14, 18, 22]


def test_python_that_cannot_be_parsed_is_cut_by_its_shape() -> None:
    """A syntax error costs exactness, not the document."""
    broken = "def f(:\n    return 1\n\n\ndef g():\n    return 2\n"
    chunker = CodeChunker(language="python", tokenizer=WORDS)
    assert texts(chunker, broken) == ["def f(:\n    return 1", "def g():\n    return 2"]


OTHERS = {
    "javascript": (
        "import x from 'x';\n\n// Adds.\nexport function add(a, b) {\n  return a + b;\n}\n\n"
        "const sub = (a, b) => {\n  return a - b;\n};\nclass Tree {\n"
        "  get() {\n    return 1;\n  }\n\n  put() {\n    return 2;\n  }\n}\n",
        ["", "add", "sub", "Tree"],
    ),
    "c": (
        "#include <stdio.h>\n\nstatic int add(int a, int b)\n{\n    return a + b;\n}\n\n"
        "struct point {\n    int x;\n};\n",
        ["", "add", "point"],
    ),
    "go": ("package a\n\nfunc (t *Tree) Get() int {\n\treturn 1\n}\n", ["", "Get"]),
    "rust": (
        "use a;\n\n/// Doc.\npub fn f() -> u8 {\n    1\n}\nimpl T {\n    x\n}\n",
        ["", "f", "T"],
    ),
    "ruby": ("class A\n  def b\n    1\n  end\nend\n\ndef c\n  2\nend\n", ["A", "c"]),
    "shell": ("set -e\n\nrun() {\n  ls\n}\nif a; then\n  b\nelse\n  c\nfi\n", ["", "run", ""]),
}


@pytest.mark.parametrize("language", OTHERS)
def test_other_languages_are_cut_by_their_shape(language: str) -> None:
    """Definitions are told by blank lines, indentation and braces, and mostly named."""
    text, names = OTHERS[language]
    regions = regions_of(text, language)
    assert "".join(text[r.start : r.end] for r in regions) == text
    assert [region.name for region in regions] == names


def test_a_long_class_is_cut_at_its_methods_in_any_language() -> None:
    """What is inside a definition is told in the same way, and named with what is around it."""
    text = OTHERS["javascript"][0]
    tree = regions_by_shape(text)[-1]
    assert [region.name for region in tree.inner] == ["Tree.get", "Tree.put"]
    assert (tree.inner[0].start, tree.inner[-1].end) == (tree.start, tree.end)


@given(TEXTS, st.sampled_from(["python", "c"]))
@settings(max_examples=150)
def test_regions_tile_any_text(text: str, language: str) -> None:
    """Every level of regions tiles what it stands in."""

    def check(regions: Any, start: int, end: int) -> None:
        for region in regions:
            assert isinstance(region, Region)
            assert start == region.start < region.end
            start = region.end
            if region.inner:
                check(region.inner, region.start, region.end)
        assert start == end

    check(regions_of(text, language), 0, len(text))


def test_the_subject_decides_where_to_cut() -> None:
    """The semantic chunker cuts between the least alike neighbours, and short texts not at all."""
    embedder = MockTextEmbedder(fixed_dim=64)
    chunker = SemanticChunker(cut_share=0.2, tokenizer=WORDS, embedder=embedder)
    subjects = ["Cats purr. Cats sleep. Cats eat.", "Ships sail. Ships sink. Ships rust."]
    assert texts(chunker, " ".join(subjects)) == subjects
    assert texts(chunker, "One. Two.") == ["One. Two."]


@pytest.mark.parametrize("name", registry("chunkers").names())
def test_chunkers_are_opened_by_name(name: str) -> None:
    """Every registered chunker takes a size and a tokenizer, and is described."""
    assert isinstance(open_chunker(name, chunk_tokens=16, tokenizer=WORDS), Chunker)
    assert registry("chunkers").summary(name)
    with pytest.raises(ConfigError, match="chunk_tokens"):
        open_chunker(name, chunk_tokens=3)


def test_an_unknown_chunker_is_named() -> None:
    """A misspelt name is answered with the one that was meant."""
    with pytest.raises(UnknownNameError, match="did you mean 'sentence'"):
        open_chunker("sentances")

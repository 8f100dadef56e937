"""Retrievers made of retrievers: what they join, and failures that stay failures."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sage.common.core.functions import MapFunction
from sage.common.errors import ConfigError, DataError, StorageError, UnreachableError
from sage.common.records import Passage, Query, Retrieved
from sage.kernel import LocalEnvironment
from sage.kernel.errors import JobFailedError
from sage.kernel.testing import CollectingSink
from sage.libs.cache import QueryCache
from sage.libs.collection import CollectionSink
from sage.libs.generation.testing import FakeOpenAIServer
from sage.middleware.operators.rag.context_fusion import _Answer, _FuseAnswers
from sage.middleware.rag.operators import (
    BM25Retriever,
    CachedRetriever,
    ContextFusionOperator,
    DenseRetriever,
    EmbeddingOperator,
    FallbackRetriever,
    HierarchicalRetriever,
    MultiSourceRetriever,
    OpenAIGeneratorOperator,
    RoutingOperator,
)

DOCS = [
    {"text": "Iron rusts in water.", "doc_id": "iron", "year": 2020},
    {"text": "Iron melts at 1538 degrees.", "doc_id": "melt", "year": 2024},
    {"text": "Water boils.", "doc_id": "water", "year": 2024},
]
CODE = [{"text": "def rust(iron): ...", "doc_id": "code", "year": 2024}]


def words(documents: Any = DOCS, **options: Any) -> BM25Retriever:
    """Return a retriever that needs no model."""
    return BM25Retriever(documents=documents, **options)


class Broken(MapFunction[Any, Retrieved]):
    """A retriever whose index is gone; with ``opens=False`` it is told at its start."""

    def __init__(self, opens: bool = True) -> None:
        self.opens = opens

    def open(self, context: Any) -> None:
        if not self.opens:
            raise StorageError("the index is gone")

    def map(self, record: Any) -> Retrieved:
        raise StorageError("the index is gone")


class Counting(MapFunction[Any, Retrieved]):
    """Counts its searches over all its copies, and finds one passage for each."""

    def __init__(self) -> None:
        self.asked: list[Query] = []

    def __deepcopy__(self, memo: object) -> Counting:
        return self

    def map(self, record: Any) -> Retrieved:
        query = Query.of(record)
        self.asked.append(query)
        return Retrieved(query, (Passage(query.text, str(len(self.asked)), 1.0),))


def every() -> list[Any]:
    """Each combining retriever around a part that is given."""
    makers: dict[str, Callable[[Any], Any]] = {
        "multi": lambda part: MultiSourceRetriever({"a": part, "b": words()}),
        "multi_timeout": lambda part: MultiSourceRetriever(
            {"a": part, "b": words()}, timeout_s=30.0
        ),
        "coarse": lambda part: HierarchicalRetriever(part, words()),
        "fine": lambda part: HierarchicalRetriever(words(), part),
        "fallback_first": lambda part: FallbackRetriever(part, words()),
        "fallback_second": lambda part: FallbackRetriever(words(), part, min_results=9),
        "cached": lambda part: CachedRetriever(part),
        "routing": lambda part: RoutingOperator(
            [{"route": "a", "pattern": "."}], retrievers={"a": part}, model="mock:8"
        ),
    }
    return [pytest.param(make, id=name) for name, make in makers.items()]


@pytest.mark.parametrize("make", every())
class TestEveryCombination:
    """What holds for all of them."""

    def test_a_failing_part_is_an_error_with_its_name(self, make: Any) -> None:
        """An index that is gone never looks like one that holds nothing, nor is it forgotten."""
        retriever = make(Broken())
        for _ in range(2):
            with pytest.raises(StorageError, match="the index is gone") as failed:
                retriever.map("does iron rust")
            assert any(" of " in note for note in failed.value.__notes__)
        retriever.close()

    def test_what_is_missing_stops_it_at_its_start(self, make: Any) -> None:
        """Opening opens every part."""
        with pytest.raises(StorageError, match="the index is gone"):
            make(Broken(opens=False)).open(None)

    def test_it_works_without_open_in_copies_and_after_a_journey(self, make: Any) -> None:
        """Called by itself, copied, pickled and closed it finds the same."""
        retriever = make(words())
        expected = retriever.map("does iron rust").passages
        assert expected
        for other in (copy.deepcopy(retriever), pickle.loads(pickle.dumps(retriever))):
            assert other.map("does iron rust").passages == expected
            other.close()
        retriever.close()
        retriever.open(None)
        assert retriever.map("does iron rust").passages == expected
        retriever.close()

    def test_it_runs_in_parallel(self, make: Any) -> None:
        """Several subtasks of one retriever give what one gives."""
        asked = ["does iron rust", "iron melts"] * 4
        one = make(words())
        expected = {question: one.map(question).passages for question in asked}
        one.close()
        found = LocalEnvironment().from_collection(asked).map(make(words()), parallelism=2)
        for answer in found.collect():
            assert answer.passages == expected[answer.query.text]

    def test_what_is_no_retriever_is_refused(self, make: Any) -> None:
        """A part that cannot search is named when the pipeline is built."""
        with pytest.raises(ConfigError, match=r"got int|got `int`"):
            make(3)
        with pytest.raises(ConfigError, match=r"expected \{'use'"):
            make({"usee": "bm25_retriever"})

    def test_a_part_that_returns_nothing_is_an_error(self, make: Any) -> None:
        """A forgotten ``return`` is not an empty result."""

        class Forgetful(MapFunction[Any, Any]):
            def map(self, record: Any) -> None:
                Query.of(record)

        retriever = make(Forgetful())
        with pytest.raises(DataError, match="expected retrieved passages, got NoneType"):
            retriever.map("does iron rust")
        retriever.close()


def test_sources_are_joined_and_named() -> None:
    """A passage says who found it; quotas bound a source, and the rest comes of the others."""
    retriever = MultiSourceRetriever({"docs": words(), "code": words(CODE)}, top_k=3)
    found = retriever.map("rust iron")
    assert {p.doc_id: p.metadata["found_in"] for p in found} == {
        "iron": ["docs"],
        "code": ["code"],
        "melt": ["docs"],
    }
    assert [leg["leg"] for leg in found.steps[-1].detail["legs"]] == ["docs", "code"]
    both = MultiSourceRetriever({"a": words(), "b": words()}, top_k=1).map("rust")
    assert both[0].metadata["found_in"] == ["a", "b"]
    bounded = MultiSourceRetriever({"docs": words(), "code": words(CODE)}, quotas={"docs": 1})
    assert [p.doc_id for p in bounded.map("rust iron")] == ["iron", "code"]
    heavy = MultiSourceRetriever({"docs": words(), "code": words(CODE)}, weights={"code": 5.0})
    assert heavy.map("rust iron")[0].doc_id == "code"


def test_sources_that_are_not_there_are_refused() -> None:
    """A quota for a misspelt source would bound nothing."""
    with pytest.raises(ConfigError, match="unknown source 'dcs'; did you mean 'docs'"):
        MultiSourceRetriever({"docs": words()}, quotas={"dcs": 1})
    with pytest.raises(ConfigError, match="at least one"):
        MultiSourceRetriever({})
    with pytest.raises(ConfigError, match="did you mean 'top_k'"):
        MultiSourceRetriever({"docs": words()}, topk=1)  # type: ignore[call-arg]


def test_a_source_that_is_late_is_missing_and_the_result_partial() -> None:
    """Who waits gets what there is, marked; if nobody answers it is an error."""
    released = threading.Event()

    class Late(MapFunction[Any, Retrieved]):
        def map(self, record: Any) -> Retrieved:
            released.wait()
            return Retrieved(Query.of(record))

    retriever = MultiSourceRetriever({"late": Late(), "docs": words()}, timeout_s=0.5)
    silent = MultiSourceRetriever({"late": Late()}, timeout_s=0.01)
    try:
        found = retriever.map("iron")
        assert found.partial
        assert found.steps[-1].detail["missing"] == ["late"]
        assert {p.doc_id for p in found} == {"iron", "melt"}
        with pytest.raises(UnreachableError, match=r"no source answered within 0\.01 s: late"):
            silent.map("iron")
    finally:
        released.set()
        retriever.close()
        silent.close()


def test_fine_is_asked_within_the_documents_that_coarse_found() -> None:
    """Passages of other documents are not searched, and a filter of the query holds for both."""
    chunks = [
        {"text": f"{topic} chunk {n}", "doc_id": topic, "n": n}
        for topic in ("iron", "melt", "water")
        for n in range(2)
    ]
    retriever = HierarchicalRetriever(words(top_k=1), words(chunks, top_k=9))
    assert {p.doc_id for p in retriever.map("rusts chunk")} == {"iron"}
    counting = Counting()
    filtered = HierarchicalRetriever(words(), counting)
    filtered.map({"query": "iron", "filter": {"year": {"$gte": 2024}}})
    assert counting.asked[0].filter == {
        "$and": [{"year": {"$gte": 2024}}, {"doc_id": {"$in": ["melt"]}}]
    }
    nothing = retriever.map("zebra")
    assert (list(nothing), nothing.steps[-1].detail["documents"]) == ([], 0)


def test_the_hierarchical_snippet_runs() -> None:
    """A class that composes two retrievers by hand finds within the chosen documents."""

    class HierarchicalRAGOperator(MapFunction[Any, Any]):
        def __init__(self) -> None:
            self.coarse_retriever = DenseRetriever(documents=DOCS, model="mock:256", top_k=1)
            self.fine_retriever = DenseRetriever(documents=DOCS * 2, model="mock:256", top_k=5)

        def open(self, context: Any) -> None:
            self.coarse_retriever.open(context)
            self.fine_retriever.open(context)

        def map(self, query: Any) -> Any:
            coarse_results = self.coarse_retriever.map(query)
            doc_ids = [r["doc_id"] for r in coarse_results]
            query_with_filter = {**query, "filter": {"doc_id": {"$in": doc_ids}}}
            fine_results = self.fine_retriever.map(query_with_filter)
            return {"query": query, "coarse_results": coarse_results, "fine_results": fine_results}

    questions = LocalEnvironment().from_collection([{"query": "water boils"}])
    [answer] = questions.map(HierarchicalRAGOperator()).collect()
    assert [p["doc_id"] for p in answer["fine_results"]] == ["water", "water"]


def test_the_second_is_asked_only_where_the_first_finds_too_little() -> None:
    """What the first found stays in front, nothing is there twice."""
    second = Counting()
    retriever = FallbackRetriever(words(top_k=2), second, min_results=2)
    assert len(retriever.map("iron")) == 2
    assert second.asked == []
    found = retriever.map("boils")
    assert [(p.text, p.metadata["found_in"]) for p in found] == [
        ("Water boils.", ["first"]),
        ("boils", ["second"]),
    ]
    assert found.steps[-1].detail["fell_back"] is True
    same = FallbackRetriever(words(), words(), min_results=9).map("iron")
    assert [p.doc_id for p in same] == ["iron", "melt"]
    strict = FallbackRetriever(words(), second, min_results=1, min_score=1e9)
    assert [p.text for p in strict.map("iron")] == ["iron"]


def test_equal_questions_are_searched_once_and_keep_their_own_metadata() -> None:
    """What came with a question stays with it; another filter is another question."""
    counting = Counting()
    retriever = CachedRetriever(counting)
    first = retriever.map({"query": "iron", "user": "a"})
    again = retriever.map({"query": " iron ", "user": "b"})
    assert again.passages == first.passages
    assert (again.query.metadata, again.steps[-1].detail["cached"]) == ({"user": "b"}, True)
    assert counting.asked[0].metadata == {}
    retriever.map({"query": "iron", "filter": {"year": 1}})
    assert len(counting.asked) == 2
    found = LocalEnvironment().from_collection(["iron"] * 8).map(retriever, parallelism=2)
    assert len(found.collect()) == 8
    assert len(counting.asked) == 2
    explained = retriever.map({"query": "iron", "explain": True})
    assert explained.steps[-1].detail["legs"][0]["candidates"]


def test_partial_results_are_not_kept() -> None:
    """What was missing once is looked for again."""

    class Partial(Counting):
        def map(self, record: Any) -> Retrieved:
            found = super().map(record)
            return Retrieved(found.query, found.passages, partial=len(self.asked) == 1)

    retriever = CachedRetriever(Partial())
    assert [retriever.map("iron").partial for _ in range(3)] == [True, False, False]
    with pytest.raises(ConfigError, match="share a cache need names"):
        CachedRetriever(Counting(), cache=QueryCache())


RULES: list[dict[str, Any]] = [
    {"route": "errors", "pattern": r"\bE-\d+"},
    {"route": "recent", "where": {"year": {"$gte": 2024}}},
    {"route": "long", "when": lambda query: len(query.text) > 40},
    {"route": "billing", "examples": ["pay an invoice", "refund my money"]},
    {"route": "metals", "examples": ["does iron rust"], "min_score": 0.9},
]


def test_each_kind_of_rule_chooses() -> None:
    """Pattern, metadata, function, nearest example, default: in this order."""
    router = RoutingOperator(RULES, default="docs", model="mock:256")
    asked = {
        "E-17 and refund my money": "errors",
        "x" * 50: "long",
        "refund the money": "billing",
        "does iron rust": "metals",
        "does iron": "docs",
    }
    routed = {text: router.map(text) for text in asked}
    assert {text: query.metadata["route"] for text, query in routed.items()} == asked
    assert router.map({"query": "E", "year": 2025}).metadata["route"] == "recent"
    assert routed["refund the money"].steps[-1].detail["example"] == "refund my money"


def test_routes_lead_to_retrievers_or_to_streams() -> None:
    """Named retrievers answer; without them the choice is in the metadata."""
    rules = [{"route": "code", "pattern": "def"}]
    retrievers = {"code": words(CODE), "docs": {"use": "bm25_retriever", "with": {"top_k": 1}}}
    router = RoutingOperator(rules, default="code", retrievers=retrievers, model="mock:8")
    found = router.map("def rust")
    assert isinstance(found, Retrieved)
    assert [step.name for step in found.steps] == ["route", "retrieve"]
    routed = LocalEnvironment().from_collection(["def", "iron"])
    tagged = routed.map(RoutingOperator(rules, default="docs", model="mock:8"))
    ways = tagged.route({"code": lambda q: q.metadata["route"] == "code", "rest": lambda q: True})
    assert [q.text for q in ways["code"].collect()] == ["def"]


def test_all_mistakes_in_rules_are_told_at_once() -> None:
    """Wrong keys, expressions, filters and routes, each with its path."""
    wrong = [
        {"route": "a", "patern": "x"},
        {"route": "b", "pattern": "("},
        {"route": "c", "where": {"year": {"$gtt": 1}}},
        {"route": "d", "examples": "one text"},
        {"pattern": "x"},
    ]
    with pytest.raises(ConfigError) as refused:
        RoutingOperator(wrong, retrievers={"aa": words(), "b": words(), "c": words()})
    told = str(refused.value)
    for expected in (
        "unknown key 'patern'; did you mean 'pattern'? - at $.rules[0].patern",
        "no condition",
        "no regular expression",
        "unknown operator '$gtt'; did you mean '$gt'? - at $.rules[2].where.year",
        "expected texts",
        "expected a mapping with 'route'",
        "no retriever for the route 'a'",
    ):
        assert expected in told
    with pytest.raises(DataError, match="no rule of RoutingOperator accepts"):
        RoutingOperator([{"route": "a", "pattern": "x"}], model="mock:8").map("iron")


def fused_stream(*retrievers: Any, questions: Any, **options: Any) -> Any:
    """Return what the union of the retrievers, fused, gives."""
    stream = LocalEnvironment().from_collection(questions)
    first, *others = [stream.map(retriever, parallelism=2) for retriever in retrievers]
    for other in others:
        first = first.union(other)
    return first.map(ContextFusionOperator(**options), parallelism=2)


def test_branches_are_joined_by_question() -> None:
    """Every question comes out once, with the passages of all branches, whole."""
    questions = [f"iron {n}" for n in range(20)] + ["water"]
    stream = fused_stream(
        words(), words(CODE), words([{"text": "iron web"}]), questions=questions, top_k=4
    )
    found = {answer.query.text: answer for answer in stream.collect()}
    assert set(found) == set(questions)
    assert not any(answer.partial for answer in found.values())
    assert len(found["iron 3"]) == 4
    step = found["iron 3"].steps[-1]
    assert (step.name, len(step.detail["legs"])) == ("fuse", 3)
    assert {name for p in found["iron 3"] for name in p.metadata["found_in"]} == {
        "documents",
        "documents#2",
        "documents#3",
    }


def test_a_question_that_is_asked_again_has_answers_of_its_own() -> None:
    """Equal questions under way at the same time do not take each other's answers."""
    other = words([{"text": "iron ore"}])
    found = fused_stream(words(), words(CODE), other, questions=["iron"] * 6, top_k=9).collect()
    assert [(len(answer), answer.partial) for answer in found] == [(4, False)] * 6


def test_the_union_that_is_read_branch_by_branch_does_not_run() -> None:
    """Nobody pays for a union whose branches the fusion reads itself; its sinks still do."""
    env = LocalEnvironment()
    questions = env.from_collection(["iron"])
    both = questions.map(words()).union(questions.map(words(CODE)))
    answers: list[Retrieved] = []
    both.map(ContextFusionOperator()).for_each(answers.append)
    assert "] union" not in str(env.explain())
    both.for_each(answers.append)
    assert "] union" in str(env.explain())
    env.execute()
    assert len(answers) == 3


def test_an_answer_waits_no_longer_than_its_time() -> None:
    """On a stream that goes on, what has come is given out in time, marked as partial."""
    released = threading.Event()

    def questions() -> Iterator[str]:
        yield "iron"
        released.wait(30)

    env, sink = LocalEnvironment(), CollectingSink()
    stream = env.from_source(questions)
    both = stream.map(words()).union(stream.map(lambda question: None))
    both.map(ContextFusionOperator(timeout_s=0.05)).sink(sink)
    job = env.submit()
    [answer] = sink.wait_for(1)
    released.set()
    job.wait(30)
    assert answer.partial
    assert len(sink.records) == 1


def test_a_branch_that_does_not_answer_makes_the_result_partial() -> None:
    """What is missing is counted and marked, not waited for beyond the end."""

    class Silent(MapFunction[Any, Any]):
        def map(self, record: Any) -> None:
            return None

    [answer] = fused_stream(words(), Silent(), questions=["iron"]).collect()
    assert answer.partial
    assert answer.steps[-1].detail["missing"] == 1
    assert {p.doc_id for p in answer} == {"iron", "melt"}


def test_a_failing_branch_fails_the_job() -> None:
    """A branch whose index is gone does not make a smaller answer."""
    with pytest.raises(JobFailedError, match="the index is gone"):
        fused_stream(words(), Broken(), questions=["iron"]).collect()


def test_fusion_wants_a_union_of_answers() -> None:
    """A stream that is no union, a single answer, answers to two questions: each is told."""
    stream = LocalEnvironment().from_collection(["iron"]).map(words())
    with pytest.raises(ConfigError, match="no union"):
        stream.map(ContextFusionOperator())
    assert len(stream.map(ContextFusionOperator(expected=1)).collect()) == 1
    fusion = ContextFusionOperator()
    with pytest.raises(DataError, match="behind a union"):
        fusion.map(words().map("iron"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="of several"):
        fusion.map([words().map("iron"), words().map("water")])


def test_questions_with_other_filters_are_other_questions() -> None:
    """Answers under two filters are never mixed, although the text is the same."""
    asked = [{"query": "iron", "filter": {"year": year}} for year in (2020, 2024)]
    found = fused_stream(words(), words(), questions=asked).collect()
    assert sorted([p.doc_id for p in answer] for answer in found) == [["iron"], ["melt"]]


def test_the_multi_source_snippet_runs(tmp_path: Any, monkeypatch: Any) -> None:
    """Three collections, asked in parallel, fused and answered; sources have their names."""
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    for collection in ("documents", "code", "web"):
        env = LocalEnvironment()
        texts = env.from_collection([f"{collection} on iron", f"{collection} on water"])
        texts.map(EmbeddingOperator(model="mock:64")).sink(
            CollectionSink(collection, store="numpy")
        )
        env.execute()

    def create_multi_source_rag(env: Any, query_source: Any) -> Any:
        queries = env.from_source(query_source)
        docs_retriever = DenseRetriever(collection="documents")
        code_retriever = DenseRetriever(collection="code")
        web_retriever = DenseRetriever(collection="web")
        doc_results = queries.map(docs_retriever, parallelism=2)
        code_results = queries.map(code_retriever, parallelism=2)
        web_results = queries.map(web_retriever, parallelism=2)
        fused = doc_results.union(code_results).union(web_results).map(ContextFusionOperator())
        return fused.map(OpenAIGeneratorOperator(model="gpt-4", temperature=0.7))

    with FakeOpenAIServer(["Iron rusts [1]."] * 2) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        answers = create_multi_source_rag(LocalEnvironment(), ["iron", "water"]).collect()
    assert sorted(answer.query.text for answer in answers) == ["iron", "water"]
    for answer in answers:
        sources = {name for passage in answer.passages for name in passage.metadata["found_in"]}
        assert sources == {"documents", "code", "web"}
        assert answer.text == "Iron rusts [1]."


class FakeMoment:
    """What a function of one key is given, at a moment that stands still."""

    now_s = 5.0

    def __init__(self) -> None:
        self.timers = self
        self.due: set[float] = set()
        self.value: Any = None
        self.set_processing_timer, self.delete_processing_timer = self.due.add, self.due.discard

    def state(self, _: Any) -> FakeMoment:
        return self

    def get(self) -> Any:
        return self.value

    def set(self, value: Any) -> None:
        self.value = value

    def clear(self) -> None:
        self.value = None


def test_answers_of_one_moment_are_all_given_out() -> None:
    """One that is joined does not take along the timer of one that came at the same time."""
    moment, gather = FakeMoment(), _FuseAnswers(ContextFusionOperator(timeout_s=1), 2)
    gather.open(moment)
    answer = words().map("iron")
    found = [a for n in (0, 0, 1) for a in gather.process(_Answer(n, 0.0, answer), moment)]
    assert [one.partial for one in found] == [False]
    assert moment.due == {6.0}
    assert [one.partial for one in gather.on_timer(6.0, moment)] == [True]
    assert moment.due == set()

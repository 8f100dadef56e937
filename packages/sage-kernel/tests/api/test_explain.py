"""``explain`` says what will run: as text, as JSON and as a Mermaid chart."""

from __future__ import annotations

import json

from sage.kernel import AfterCount, AfterWatermark, LocalEnvironment, SlidingWindow, TumblingWindow


def pipeline() -> LocalEnvironment:
    env = LocalEnvironment("shop")
    orders = env.from_collection([1], name="orders").map(abs, name="net")
    counted = orders.key_by(lambda n: n, name="by_id").count(parallelism=2, name="counts")
    counted.broadcast().map(str, parallelism=2, name="shown").sink(print, name="out", parallelism=2)
    orders.rebalance().filter(bool, parallelism=3, name='q"<x>').sink(print, name="rest")
    return env


def test_the_text_shows_tasks_and_how_records_are_spread() -> None:
    """One line a task: its chain, its parallelism, its inputs and their partitioning."""
    text = str(pipeline().explain())
    lines = text.splitlines()
    assert lines[0] == "shop: 9 tasks"
    assert lines[1] == "[0] orders → net → by_id"
    assert lines[2] == "[1] counts ×2  ← by_id (by key)"
    assert lines[3] == "[2] shown → out ×2  ← counts (to all)"
    assert '[3] q"<x> ×3  ← net (in turn)' in lines
    assert lines[-1].endswith('rest  ← q"<x> (in turn)')


def test_the_json_has_operators_and_edges() -> None:
    """Programs get every operator with its task, and every edge with its partitioning."""
    plan = json.loads(pipeline().explain().to_json())
    assert plan["name"] == "shop"
    tasks = {o["name"]: o["task"] for o in plan["operators"]}
    assert tasks["orders"] == tasks["net"] == tasks["by_id"] != tasks["counts"]
    names = {o["uid"]: o["name"] for o in plan["operators"]}
    edges = {(names[e["from"]], names[e["to"]]): e["partitioning"] for e in plan["edges"]}
    assert edges["by_id", "counts"] == "hash"
    assert edges["counts", "shown"] == "broadcast"
    assert edges["shown", "out"] == "forward"
    assert edges["net", 'q"<x>'] == "rebalance"


def test_the_mermaid_chart_escapes_names() -> None:
    """A name with quotes or angle brackets does not break the chart."""
    chart = pipeline().explain().to_mermaid()
    assert chart.startswith("flowchart LR\n")
    assert "q#quot;#lt;x#gt;" in chart
    assert chart.count("subgraph") == chart.count("\n  end") == 5
    assert "-->|by key|" in chart


def test_the_plan_says_which_windows_there_are() -> None:
    """Their size, and what of trigger, lateness, mode and time is not as usual."""
    env = LocalEnvironment("shop")
    timed = env.from_collection([1]).assign_timestamps(float, max_out_of_orderness_s=2)
    timed.window(TumblingWindow(60)).count(name="plain")
    timed.window(
        SlidingWindow(10, 3),
        trigger=AfterWatermark(early=AfterCount(5)),
        allowed_lateness_s=4,
        mode="discarding",
    ).count(name="early")
    timed.window(TumblingWindow(5), time="processing").count(name="by clock")
    lines = [line.strip() for line in str(env.explain()).splitlines()]
    assert "assign_timestamps: timestamps, up to 2 s out of order" in lines
    assert "plain: TumblingWindow(size_s=60, offset_s=0)" in lines
    assert (
        "early: SlidingWindow(size_s=10, slide_s=3, offset_s=0), AfterWatermark("
        "early=AfterCount(count=5), late=AfterCount(count=1)), late records allowed for 4 s, "
        "discarding"
    ) in lines
    assert (
        "by clock: TumblingWindow(size_s=5, offset_s=0), by the clock, so its result depends on "
        "when records arrive"
    ) in lines


def test_the_plan_says_how_streams_are_joined_in_time() -> None:
    """The interval or the windows, the side that is given alone, and what is a duplicate."""
    env = LocalEnvironment("shop")
    keyed = env.from_collection([1]).assign_timestamps(float).key_by(abs)
    keyed.interval_join(keyed, -2, 3.5, how="left", name="close")
    keyed.window_join(keyed, TumblingWindow(60), name="together", allowed_lateness_s=5)
    keyed.deduplicate(within_s=10, name="once")
    keyed.join(keyed, state_ttl_s=4, name="kept")
    lines = [line.strip() for line in str(env.explain()).splitlines()]
    assert "close: left, the right side -2 to 3.5 s after the left" in lines
    assert (
        "together: inner, TumblingWindow(size_s=60, offset_s=0), late records allowed for 5 s"
        in lines
    )
    assert "once: less than 10 s apart" in lines
    assert "kept: inner, the right side -4 to 4 s after the left" in lines


def test_names_are_made_unique() -> None:
    """Operators without a name get that of their function, numbered where it is taken."""
    env = LocalEnvironment()
    env.from_collection([1]).map(abs).map(abs).map(lambda n: n).map(lambda n: n).sink(print)
    names = [t.name for t in env.graph()]
    assert names == ["collection", "abs", "abs-2", "map", "map-2", "print"]

"""Visits of a web site: sessions, late clicks, and counts a minute in event time.

It prints:

    ann: 3 clicks in 45 s
    bob: 1 clicks in 0 s
    ann: 1 clicks in 0 s
    minute 0: 4 clicks
    minute 1: 1 clicks
    late: [('bob', 30)]
"""

from sage.kernel import LocalEnvironment, SessionWindow, TumblingWindow

# Who and when, in seconds; clicks come up to ten seconds out of order, and one far too late.
CLICKS = [("ann", 0), ("ann", 20), ("bob", 50), ("ann", 45), ("ann", 118), ("bob", 30)]


def visit(user, clicks, ctx):
    """Say a visit when it is over; the window ends 30 s after its last click."""
    lasted = ctx.window.end_s - 30 - ctx.window.start_s
    yield f"{user}: {len(clicks)} clicks in {lasted} s"


env = LocalEnvironment("site")
clicks = env.from_collection(CLICKS).assign_timestamps(lambda c: c[1], max_out_of_orderness_s=10)
visits = clicks.key_by(lambda click: click[0]).window(SessionWindow(30)).process(visit)
a_minute = clicks.window(TumblingWindow(60)).count(
    emit=lambda key, window, n: f"minute {window.start_s // 60}: {n} clicks"
)

late: list[tuple[str, int]] = []
said: list[list[str]] = [[], []]
for stream, lines in zip((visits, a_minute), said, strict=True):
    stream.sink(lines.append)
a_minute.side_output("late").sink(late.append)
env.execute()
print(*said[0], *said[1], f"late: {late}", sep="\n")

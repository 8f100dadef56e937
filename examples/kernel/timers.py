"""State and timers of each key: sensors that fall silent, and how warm they were.

It prints:

    cellar: silent since 5, warmest 9
    kitchen: silent since 12, warmest 23
    kitchen: silent since 60, warmest 23
"""

from sage.kernel import LocalEnvironment, ProcessFunction, ReducingState, ValueState

READINGS = [("kitchen", 0, 20), ("cellar", 5, 9), ("kitchen", 12, 23), ("kitchen", 60, 19)]
SILENCE_S = 20


class Watch(ProcessFunction):
    """Tells of a sensor that has said nothing for `SILENCE_S` seconds of event time."""

    def open(self, context):
        """Declare what is remembered; each key has its own."""
        self.last = context.state(ValueState("last"))
        self.warmest = context.state(ReducingState("warmest", reduce=max))

    def process(self, reading, ctx):
        """Put the timer off with every reading."""
        if self.last.get() is not None:
            ctx.timers.delete_event_timer(self.last.get() + SILENCE_S)
        self.last.set(ctx.timestamp)
        self.warmest.add(reading[2])
        ctx.timers.set_event_timer(ctx.timestamp + SILENCE_S)

    def on_timer(self, timestamp_s, ctx):
        """Come here when the watermark has passed the time that was set."""
        yield f"{ctx.current_key}: silent since {self.last.get()}, warmest {self.warmest.get()}"


readings = LocalEnvironment("house").from_collection(READINGS)
by_room = readings.assign_timestamps(lambda r: r[1]).key_by(lambda r: r[0])
print(*by_room.process(Watch).collect(), sep="\n")

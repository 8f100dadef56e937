"""One stream, several ways: ``process`` with a side output, and ``route``.

It prints:

    urgent: ['server down']
    billing: ['invoice 12', 'refund?']
    rejected: ['???']
"""

from sage.kernel import LocalEnvironment, ProcessFunction

TICKETS = ["!server down", "invoice 12", "???", "refund?"]


class Checked(ProcessFunction[str, tuple[bool, str]]):
    """Tells how urgent a ticket is; what cannot be read goes to the side output ``rejected``."""

    def process(self, record, ctx):
        if not any(letter.isalnum() for letter in record):
            ctx.output("rejected", record)
            return
        yield record.startswith("!"), record.lstrip("!")


env = LocalEnvironment("tickets")
checked = env.from_collection(TICKETS).process(Checked)
ways = checked.route({"urgent": lambda ticket: ticket[0], "billing": lambda ticket: True})

ends = {name: way.map(lambda ticket: ticket[1]) for name, way in ways.items()}
ends["rejected"] = checked.side_output("rejected")
# Three sinks, one run: every record is read once.
got: dict[str, list[str]] = {name: [] for name in ends}
for name, stream in ends.items():
    stream.sink(got[name].append, name=name)
env.execute()
for name, tickets in got.items():
    print(f"{name}: {tickets}")

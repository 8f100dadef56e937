"""Joins in event time: which payments came soon enough, at which price, and each alarm once.

It prints:

    milk: paid not within a minute
    tea: paid after 13 s
    [('tea', 40, 2.5), ('tea', 70, 3.0)]
    [('disk', 0), ('fan', 11), ('disk', 60)]
"""

from sage.kernel import LocalEnvironment

env = LocalEnvironment("shop")


def timed(records):
    """Make a keyed stream: the key of a record is its first field, its time the second."""
    stream = env.from_collection(records)
    return stream.assign_timestamps(lambda r: r[1]).key_by(lambda r: r[0])


def told(order, payment):
    """Return a line for an order; one that is not paid in time comes with None."""
    after = f"after {payment[1] - order[1]} s" if payment else "not within a minute"
    return f"{order[0]}: paid {after}"


orders = timed([("tea", 40), ("milk", 50)])
payments = timed([("tea", 53), ("milk", 199)])
paid = orders.interval_join(payments, lower_s=0, upper_s=60, function=told, how="left")
print(*sorted(paid.collect()), sep="\n")

# The price of an order is the latest one that is not after it.
prices = timed([("tea", 0, 2.5), ("tea", 60, 3.0)])
priced = timed([("tea", 40), ("tea", 70)]).temporal_join(prices, lambda o, p: (*o, p[2]))
print(sorted(priced.collect()))

alarms = timed([("disk", 0), ("disk", 9), ("fan", 11), ("disk", 60)])
print(alarms.deduplicate(within_s=30).collect())

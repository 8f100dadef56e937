"""Two streams with the same keys: ``join``, and ``connect`` for what only looks alike.

It prints:

    ann bought milk
    ann bought tea
    bob bought nothing
    [('celsius', 20.0), ('celsius', 25.0)]
"""

from sage.kernel import LocalEnvironment

env = LocalEnvironment("shop")
customers = env.from_collection([(1, "ann"), (2, "bob")]).key_by(lambda customer: customer[0])
orders = env.from_collection([(1, "tea"), (1, "milk")]).key_by(lambda order: order[0])


def told(customer: tuple[int, str], order: tuple[int, str] | None) -> str:
    """Return a line for a pair; a customer without orders comes with None."""
    return f"{customer[1]} bought {order[1] if order else 'nothing'}"


for line in sorted(customers.join(orders, told, how="left").collect()):
    print(line)

celsius = env.from_collection([20.0])
fahrenheit = env.from_collection([77.0])
readings = celsius.connect(fahrenheit).map(
    lambda degrees: ("celsius", degrees),
    lambda degrees: ("celsius", (degrees - 32) / 1.8),
)
print(sorted(readings.collect()))

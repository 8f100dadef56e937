"""Records that fail are set aside, and fed in again when the cause is mended.

It prints:

    sold: {'tea': 6}
    set aside: milk ×3 at 'price': KeyError: 'milk'
    after the replay: {'tea': 6, 'milk': 12}
"""

from sage.kernel import LocalEnvironment

PRICES = {"tea": 3}
sold: dict[str, int] = {}


def price(order: tuple[str, int]) -> tuple[str, int]:
    article, pieces = order
    return article, PRICES[article] * pieces


env = LocalEnvironment("orders")
(
    env.from_collection([("tea", 2), ("milk", 3)])
    .map(price, on_error="dead_letter")
    .for_each(lambda sale: sold.update([sale]))
)
job = env.submit()
job.wait(timeout=60)
print("sold:", sold)
for letter in job.dead_letters():
    article, pieces = letter.record
    print(f"set aside: {article} ×{pieces} at {letter.operator!r}: {letter.error}")

PRICES["milk"] = 4
job.replay_dead_letters()
print("after the replay:", sold)

"""A pipeline that answers callers: ``env.serve()``, with a service that its functions share.

It prints:

    ['Hello, Ann!', 'Hello, Bob!', 'Hello, Cid!']
    nobody: None
    greeted: 3
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from sage.kernel import LocalEnvironment, MapFunction


class Counter:
    """One object for all functions of the job, called from any of their threads."""

    def __init__(self) -> None:
        self.greeted, self._lock = 0, Lock()

    def process(self) -> None:
        with self._lock:
            self.greeted += 1


class Greet(MapFunction[str, str]):
    def map(self, name):
        self.call_service("counter")
        return f"Hello, {name.title()}!"


env, counter = LocalEnvironment("greeter"), Counter()
env.register_service("counter", counter)
greetings = env.from_collection([]).filter(lambda name: name != "nobody").map(Greet)
with env.serve(greetings) as service, ThreadPoolExecutor() as callers:
    print(list(callers.map(service.call, ["ann", "bob", "cid"])))
    print("nobody:", service.call("nobody"))
print("greeted:", counter.greeted)

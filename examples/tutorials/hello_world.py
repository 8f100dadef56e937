"""A pipeline in ten lines: what flows is said here, running it is the engine's business.

python examples/tutorials/hello_world.py
"""

from sage.kernel.api.local_environment import LocalEnvironment

env = LocalEnvironment("hello_world")
(
    env.from_collection(["the world", "", "a stream", "nobody"])
    .filter(lambda name: name not in ("", "nobody"))
    .map(str.title)
    .map(lambda name: f"Hello, {name}!")
    .print()
)
env.execute()

"""The same word count in this process and on Ray, an actor for each subtask.

It needs ``pip install 'isage-kernel[ray]'``. It prints:

    4 the
    2 dog
    2 fox
    the same as here
"""

from collections.abc import Iterable

from sage.kernel.api.environment import Environment
from sage.kernel.api.local_environment import LocalEnvironment
from sage.kernel.api.remote_environment import RemoteEnvironment

TEXT = ["the quick brown fox jumps over the lazy dog", "the dog sleeps and the fox is gone"]


def words(line: str) -> Iterable[str]:
    """Return the words of a line."""
    return line.split()


def count(env: Environment) -> dict[str, int]:
    """Return how often each word occurs, counted by two subtasks."""
    lines = env.from_collection(TEXT)
    running = lines.flat_map(words).key_by(lambda word: word).count(parallelism=2)
    return dict(running.collect())  # the last count of a word is the one that stays


if __name__ == "__main__":
    here = count(LocalEnvironment("here"))
    with RemoteEnvironment("there") as env:
        there = count(env)
    for word, times in sorted(there.items(), key=lambda item: (-item[1], item[0]))[:3]:
        print(f"{times} {word}")
    print("the same as here" if there == here else f"here it is {here}")

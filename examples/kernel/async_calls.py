"""Many calls at once to a slow service: ``map_async``.

It prints:

    200 answers, in order: True
    calls overlap, at most 50 of them: True
    calls that were made again: 1
"""

import asyncio

from sage.kernel import LocalEnvironment


class FakeService:
    """Stands in for a model behind an endpoint: it answers late, and once it fails."""

    under_way = most = failures = 0

    async def ask(self, question: int) -> str:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.005)
        self.under_way -= 1
        if question == 7 and not self.failures:
            self.failures += 1
            raise ConnectionError("the service was too busy")
        return f"answer {question}"


service = FakeService()
env = LocalEnvironment("questions")
questions, got = env.from_collection(range(200)), []
questions.map_async(service.ask, concurrency=50, retries=2, name="ask").sink(got.append)
metrics = env.execute().metrics
print(f"{len(got)} answers, in order: {got == [f'answer {n}' for n in range(200)]}")
print("calls overlap, at most 50 of them:", 1 < service.most <= 50)
print("calls that were made again:", metrics["ask"].retries)

"""Records one by one: ``flat_map``, ``filter`` and ``map``.

It prints:

    404 /missing
    500 /search
    500 /cart
"""

from sage.kernel import LocalEnvironment

LOG = """\
GET /index 200, GET /missing 404
GET /search 500

POST /cart 500, GET /index 200
"""


def parsed(entry: str) -> dict[str, str | int]:
    """Return the parts of an entry such as ``GET /index 200``."""
    method, path, status = entry.split()
    return {"method": method, "path": path, "status": int(status)}


env = LocalEnvironment("failing_requests")
(
    env.from_collection(LOG.splitlines())
    .filter(str.strip, name="not blank")
    .flat_map(lambda line: line.split(","), name="entries")
    .map(parsed)
    .filter(lambda request: request["status"] >= 400, name="failed")
    .map(lambda request: f"{request['status']} {request['path']}", name="shown")
    .print()
)
env.execute()

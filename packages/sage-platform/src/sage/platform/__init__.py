"""What SAGE runs on: storage, queues, caches, secrets.

Key-value and blob stores, in-process and Redis queues, caches, the service registry and secrets
will live here, each behind a protocol of `sage.common`. It is not a place for algorithms (those
are in `sage.libs`) nor for anything that knows the engine. Nothing but the version is here yet.
"""

"""HTTP front of SAGE: an OpenAI-compatible API over pipelines and model back ends.

Chat completions, sessions, retrieval and job endpoints will live here; it is the only package
beside Studio that may import FastAPI. Nothing but the version is here yet.
"""

"""The SAGE benchmark suite.

Throughput, latency, recovery and retrieval-quality benchmarks, and the runs of comparable systems,
will live here, each an entry point in the group `sage.benchmarks`. Nothing but the version is here
yet.
"""

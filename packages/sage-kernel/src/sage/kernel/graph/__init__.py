"""Plans as immutable values.

Logical (``stream_graph``), physical (``job_graph``), and told to people (``explain``).
"""

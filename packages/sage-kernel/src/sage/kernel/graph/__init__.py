"""Plans as immutable values: logical (``stream_graph``), physical (``job_graph``), and told to people (``explain``)."""

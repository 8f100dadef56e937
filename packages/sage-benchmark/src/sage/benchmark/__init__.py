"""Measures SAGE against hand-written Python and against its peers, in one interleaved run.

It is not a test suite: it asserts no speed. What is true about a result, and what was not measured,
is in the report.

Layout:
    suite        one suite of rows, and its report; ``sage bench kernel`` runs one
    row          what a row and a contestant are, as plain values
    schedule     interleaves the contestants, each run in a process of its own
    worker       that process: one contestant, once
    workloads    one row a file: the data, the work by hand, the work in SAGE
    peers        the same work in other systems, one a file
    nexmark      queries over auctions, compared with batch programs; ``sage bench nexmark``
    retrieval    quality of rankings on test collections; ``sage bench retrieval``
    statistics   medians and spread
    report, chart, page   the results as table, JSON, bar chart and documentation
    publishing   writes them into a directory
"""

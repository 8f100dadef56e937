"""Nexmark: queries over the events of an online auction, each compared with a batch program.

It measures the engine with work that people know, and it is a test: on the same events, a query and
its reference must give the same rows. It is no copy of a published generator: the traffic is like
theirs, the events are not.

Layout:
    model               persons, auctions, bids
    generator           the seeded stream of them, out of order
    reference           each query as a batch program: its definition
    queries             each query on SAGE's API
    clocked_arrivals    a source that drives the clock, for q12
    catalog             which program belongs to which reference
    verification        runs a query and compares
    suite               ``sage bench nexmark``; ``python -m sage.benchmark.nexmark`` compares once
"""

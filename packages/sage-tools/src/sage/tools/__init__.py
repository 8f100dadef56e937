"""The ``sage-dev`` command: what developers of SAGE run before they push, and what CI runs.

It checks and tests a checkout of the repository; it is not part of any pipeline, and nothing else
of SAGE imports it.

Layout:
    main          assembles the command
    repository    the checkout: its root, its packages
    process       runs the programs that do the work
    architecture  who may import whom (contracts in ``architecture.toml``)
    quality       format, lint, types and architecture in one go
    tests         the tests of all packages, doctests and the documentation's snippets
    docs          the documentation as a site
    measure       the numbers that are promised
"""

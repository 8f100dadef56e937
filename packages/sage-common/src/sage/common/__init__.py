"""What every layer of SAGE speaks: functions, records, errors, typed config, the registry.

It is not a box for odds and ends: what belongs to storage is in ``sage.platform``, what runs
anything is in ``sage.kernel``.

Layout:
    core            function classes and the protocol of the runtime context
    records         the typed values of RAG pipelines
    errors          the exception tree
    config          constructor options as validated config; ``load_config``
    registry        components by name, from entry points
    ids, paths, suggestions
"""

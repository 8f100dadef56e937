"""The ``sage`` command: index documents, ask questions, run pipelines, look after the set-up.

It is the outermost layer: it parses arguments, calls the layers below and presents what they
return. Nothing here knows how to retrieve, embed or run a pipeline.

Layout:
    main        assembles the command and turns every error into one screen and an exit code
    options     the options that several commands share
    screen      where output goes: results to stdout, progress and messages to stderr
    failure     how an error is told, as text or as JSON
    answers     how an answer is shown; reports, progress: an indexing run
    script      runs a user's script as __main__
    commands/   one command a module; each imports what it needs when it runs
    health/     what ``sage doctor`` looks at
"""

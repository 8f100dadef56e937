"""Algorithms without an engine: what SAGE can do to text, usable from any Python program.

Nothing here knows of streams beyond the function contracts of ``sage.common``; how these parts are
put on a stream is the business of ``sage.middleware``. Importing this package loads nothing: ask
for the module you need.

Layout:
    files        opening a user's file, or saying why not
    io           sources and sinks: files, JSON lines, CSV, directories, the terminal
    documents    load, find and cut documents
    text         sentences
    embedding    text to vectors
    vectors      vector stores behind one protocol
    lexical      BM25
    fusion       several rankings into one
    rerank       the best passages read once more, together with the question
    evaluation   how good a ranking is, and how sure that is
    collection   what ``sage index`` writes and the retrievers read
    generation   prompts to answers
"""

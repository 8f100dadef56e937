"""How good the rankings are: test collections, and what retrieval finds in them.

Not here: the measures (`sage.libs.evaluation`) and the retrieval itself (`sage.middleware`), which
runs as it does for a user: an index on the disk, and the retrievers with their defaults.

Layout:
    judged          test collections: BEIR folders and files in SQuAD's form
    systems         who takes part, what was published, what must be reached
    measuring       indexes a test collection and asks each system every question
    suite           ``sage bench retrieval``
    report, chart   the results as table, JSON, Markdown and bar chart
"""

"""Index a large folder without running out of memory.

Documents stream through loading, cutting, embedding and writing, so that a few batches are in
memory, whatever the size of the folder. Where memory runs short, the batches that are embedded are
halved, and nothing is skipped. The model here is the quick one of tests; leave it out for MiniLM.

It prints:

    8 documents, 80 chunks, 0 failed
    batches were halved: False
    with little memory: 8 documents, 80 chunks, 0 failed
    batches were halved: True
"""

import tempfile
from pathlib import Path

from sage.middleware.indexing import build_index

with tempfile.TemporaryDirectory() as folder:
    documents = Path(folder, "documents")
    documents.mkdir()
    for n in range(8):
        sections = [f"# Part {i} of document {n}\n\nWhat part {i} has to say.\n" for i in range(10)]
        (documents / f"doc_{n}.md").write_text("\n".join(sections))

    report = build_index(documents, "plenty", model="mock:64", home=f"{folder}/home")
    print(f"{len(report.added)} documents, {report.chunks} chunks, {len(report.failed)} failed")
    print("batches were halved:", report.batch_halvings > 0)

    # The process is over this limit from the start, so that every batch is a reason to halve.
    report = build_index(
        documents, "short", model="mock:64", home=f"{folder}/home", memory_limit_bytes=1
    )
    print("with little memory:", end=" ")
    print(f"{len(report.added)} documents, {report.chunks} chunks, {len(report.failed)} failed")
    print("batches were halved:", report.batch_halvings > 0)

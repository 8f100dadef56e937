"""Load documents in processes, cut them into chunks, keep going when one cannot be read.

``load_documents`` gives each document or its failure, in the order of the paths, and bounds the
time and the memory that one file may take. Cutting is quick beside loading and embedding; on a
stream it is a ``map`` with a parallelism.

It prints:

    19 documents, 1 failure
    doc_7.pdf: data-error
    57 chunks, the longest of 16 words
"""

import tempfile
from pathlib import Path

from sage.common.records import Document
from sage.kernel import LocalEnvironment
from sage.libs.documents import TokenChunker, WordTokenizer, load_documents

SENTENCE = "Sentence {} of document {} has eight words. "


chunker = TokenChunker(chunk_tokens=20, overlap_tokens=0, tokenizer=WordTokenizer())


with tempfile.TemporaryDirectory() as folder:
    paths = [Path(folder, f"doc_{n}.{'pdf' if n == 7 else 'txt'}") for n in range(20)]
    for n, path in enumerate(paths):
        path.write_text("".join(SENTENCE.format(i, n) for i in range(6)))
    loaded = list(load_documents(paths, root=folder, workers=2))

documents = [item for item in loaded if isinstance(item, Document)]
failures = [item for item in loaded if not isinstance(item, Document)]
print(f"{len(documents)} documents, {len(failures)} failure")
for failure in failures:
    print(f"{Path(failure.source).name}: {failure.code}")

env = LocalEnvironment("cut")
chunks = env.from_collection(documents).flat_map(chunker.chunk, parallelism=2).collect()
print(f"{len(chunks)} chunks, the longest of {max(len(c.text.split()) for c in chunks)} words")

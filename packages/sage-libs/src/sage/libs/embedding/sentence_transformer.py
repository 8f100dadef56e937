"""Embedders on sentence-transformers: any model that library knows, on any device torch has.

It computes what `OnnxEmbedder` computes, at about the same speed on a processor; it is for models
that are no plain BERT, and for comparing. Never the network: the model is looked for where every
other embedder looks (`sage.libs.embedding.weights`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.common.config import Annotated, Meta, configurable
from sage.libs.embedding.convert import read_config
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.scripts import known_scripts, share_in
from sage.libs.embedding.texts import checked_texts
from sage.libs.embedding.torch_extra import import_from_extra
from sage.libs.embedding.weights import resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["SentenceTransformerEmbedder"]


@configurable
class SentenceTransformerEmbedder:
    """Embeds texts with the library sentence-transformers, in float32.

    A text of more than ``max_tokens`` tokens is **truncated**. All embedders of one model, device
    and ``max_tokens`` in a process share one model; calls from several threads wait for each other,
    because the library's tokenizers cannot be used by two at once.

    Args:
        model: A model id or a directory, see `sage.libs.embedding.weights.resolve`.
        device: As torch names it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        max_tokens: Longest text that is read whole, in tokens with the special ones.
        batch_size: Texts to compute at once.

    Raises:
        MissingExtraError: at construction, if sentence-transformers is not installed.
        MissingWeightsError: at construction, if the weights are nowhere on this machine.

    Example::

        embedder = SentenceTransformerEmbedder()
        vectors = embedder.embed(["Water boils at 100 °C."])  # float32 [1, 384]
    """

    backend = "torch"

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        device: str = "cpu",
        max_tokens: Annotated[int, Meta(ge=3, le=512)] = 256,
        batch_size: Annotated[int, Meta(ge=1)] = 32,
    ) -> None:
        import_from_extra("sentence_transformers")
        self._path = resolve(model)
        self.model = model
        self.dim = int(read_config(self._path)["hidden_size"])
        self.device = device
        self.max_tokens = max_tokens
        self.batch_size = batch_size

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts), dim], rows of length 1, in the order of ``texts``.

        Raises:
            DataError: if a text is not a string.
        """
        import numpy as np

        given = checked_texts(texts)
        if not given:
            return np.empty((0, self.dim), dtype=np.float32)
        return np.asarray(self._encoded(given, normalize_embeddings=True), dtype=np.float32)

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Return for each text float32 [its tokens, dim], rows of length 1.

        The first and the last token, which BERT-like models add, have no row.

        Raises:
            DataError: if a text is not a string.
        """
        import numpy as np

        given = checked_texts(texts)
        if not given:
            return []
        hidden = self._encoded(given, output_value="token_embeddings", convert_to_numpy=False)
        inner = [np.asarray(rows[1:-1].cpu(), dtype=np.float32) for rows in hidden]
        return [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in inner]

    def reads(self, text: str) -> float:
        """Return the share of the letters of ``text`` in scripts that the model was trained on."""
        return share_in(known_scripts(self.model), text)

    def _encoded(self, texts: list[str], **options: Any) -> Any:
        model, lock = _model(self._path, self.device, self.max_tokens)
        with lock:
            return model.encode(
                texts, batch_size=self.batch_size, show_progress_bar=False, **options
            )


@functools.lru_cache(maxsize=4)
def _model(path: Path, device: str, max_tokens: int) -> tuple[Any, threading.Lock]:
    """Return the process's one model of a directory, with the lock of its tokenizer."""
    model = import_from_extra("sentence_transformers").SentenceTransformer(
        str(path), device=device, local_files_only=True
    )
    model.max_seq_length = max_tokens
    return model, threading.Lock()

"""Reranks with a cross-encoder: one forward pass over query and text together for each text.

That is the slowest way to compare two texts and the most exact one (Nogueira and Cho 2019), so it
is for the few best of a first stage. Needs the extra ``torch`` and a model that is on this machine;
never the network.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import DataError
from sage.libs.embedding.texts import checked_texts
from sage.libs.embedding.torch_extra import import_from_extra
from sage.libs.embedding.weights import MissingWeightsError, resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CrossEncoderReranker"]


@configurable
class CrossEncoderReranker:
    """Scores texts for a query with a cross-encoder of sentence-transformers.

    Query and text together are **truncated** at ``max_tokens`` tokens, the longer of the two first.
    All rerankers of one model, device and ``max_tokens`` in a process share it; calls from several
    threads wait for each other.

    Args:
        model: A directory with the model, or its id if it is in the Hugging Face cache, such as
            ``"cross-encoder/ms-marco-MiniLM-L6-v2"``.
        device: As torch names it: ``"cpu"``, ``"cuda"``.
        max_tokens: Longest pair that is read whole, in tokens.
        batch_size: Pairs to compute at once.

    Raises:
        MissingExtraError: at construction, if sentence-transformers is not installed.
        MissingWeightsError: at construction, if the model is nowhere on this machine.

    Example::

        reranker = CrossEncoderReranker(model="./my-cross-encoder")
        scores = reranker.scores("When does water boil?", ["At 100 °C.", "It was raining."])
    """

    def __init__(
        self,
        *,
        model: str,
        device: str = "cpu",
        max_tokens: Annotated[int, Meta(ge=8, le=8192)] = 512,
        batch_size: Annotated[int, Meta(ge=1)] = 32,
    ) -> None:
        import_from_extra("sentence_transformers")
        self._path = _resolved(model)
        self.model = model
        self.device = device
        self.max_tokens = max_tokens
        self.batch_size = batch_size

    def scores(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts)]: the better a text answers the query, the higher.

        The numbers compare texts for one query; between queries or models they mean nothing.

        Raises:
            DataError: if the query or a text is not a string, or the model gives several numbers
                for a pair.
        """
        import numpy as np

        (asked,), given = checked_texts([query]), checked_texts(texts)
        if not given:
            return np.empty(0, dtype=np.float32)
        model, lock = _model(self._path, self.device, self.max_tokens)
        pairs = [(asked, text) for text in given]
        with lock:
            scores = model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False)
        return np.asarray(scores, dtype=np.float32)


def _resolved(model: str) -> Path:
    try:
        return resolve(model)
    except MissingWeightsError as error:
        raise MissingWeightsError(
            f"the weights of the cross-encoder {model!r} are not on this machine",
            hint="give a directory with config.json, tokenizer.json and model.safetensors, or "
            "rerank with LateInteractionReranker, which needs no model but the embedder's",
            model=model,
        ) from error


@functools.lru_cache(maxsize=4)
def _model(path: Path, device: str, max_tokens: int) -> tuple[Any, threading.Lock]:
    """Return the process's one model of a directory, with the lock of its tokenizer."""
    model = import_from_extra("sentence_transformers").CrossEncoder(
        str(path), device=device, max_length=max_tokens, local_files_only=True
    )
    labels = model.config.num_labels
    if labels != 1:
        raise DataError(
            f"{str(path)!r} gives {labels} numbers for a pair, expected one score",
            hint="it is a classifier; a cross-encoder for reranking has num_labels=1",
            path=str(path),
        )
    return model, threading.Lock()

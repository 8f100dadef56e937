"""An embedder for tests: no model, no download, the same vectors in every process."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sage.common.config import Annotated, Meta, configurable
from sage.common.errors import ConfigError, Problem
from sage.libs.embedding.texts import checked_texts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["MockTextEmbedder", "from_id"]


@configurable
class MockTextEmbedder:
    """Hashes words into vectors, so that texts which share words are near each other.

    It knows nothing of meaning: use it to test what surrounds an embedder.

    Args:
        fixed_dim: Length of a vector.

    Example:
        >>> embedder = MockTextEmbedder(fixed_dim=64)
        >>> cat, cats, car = embedder.embed(["a black cat", "a cat, black", "red cars"])
        >>> bool(cat @ cats > cat @ car)
        True
    """

    backend = "mock"

    def __init__(self, *, fixed_dim: Annotated[int, Meta(ge=1)] = 16) -> None:
        self.dim = fixed_dim
        self.model = f"mock:{fixed_dim}"

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts), dim], rows of length 1.

        Raises:
            DataError: if a text is not a string.
        """
        import numpy as np

        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(vectors, checked_texts(texts), strict=True):
            for word in re.findall(r"\w+", text.lower()) or [text]:
                row += self._word(word)
            row /= np.linalg.norm(row) or 1.0
            if not row.any():  # words that cancel out, possible in one dimension
                row[0] = 1.0
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Return for each text float32 [its words, dim], rows of length 1."""
        return [self.embed(re.findall(r"\w+", text.lower())) for text in texts]

    def _word(self, word: str) -> npt.NDArray[np.float32]:
        import numpy as np

        # From the bytes of the hash alone: random generators may change with numpy's version.
        digest = hashlib.shake_256(word.encode("utf-8", "surrogatepass")).digest(2 * self.dim)
        return np.frombuffer(digest, dtype="<i2").astype(np.float32)


def from_id(*, model: str) -> MockTextEmbedder:
    """Return the mock of an id: ``"mock"`` has 16 dimensions, ``"mock:32"`` has 32.

    Raises:
        ConfigError: if what follows the colon is not a positive number.
    """
    dim = model.partition(":")[2]
    if dim and not (dim.isdecimal() and int(dim) > 0):
        raise ConfigError(
            "embedder", [Problem("$.model", f"expected 'mock:DIM' with DIM > 0, got {model!r}")]
        )
    return MockTextEmbedder(fixed_dim=int(dim or 16))

"""The forward pass of a BERT encoder on a torch device, written for throughput.

It differs from a plain one where time is lost: query, key and value are one product, attention is
torch's fused kernel, nothing is computed twice for a mask, and no module tree is walked, so that a
small batch is about eighty kernel launches and little else. In half precision the products add up
in float32 inside the kernels, and norms, softmax and pooling are computed in float32 too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from sage.libs.embedding.bert_graph import Weights, check_plain_bert, weight
from sage.libs.embedding.convert import read_config, read_pooling
from sage.libs.embedding.safetensors import read_safetensors
from sage.libs.embedding.torch_extra import import_from_extra

__all__ = ["BertEncoder", "Output"]

Output: TypeAlias = Literal["embedding", "tokens"]
Tensor: TypeAlias = Any

_PARTS: Final = ("query", "key", "value")


class _Dense(NamedTuple):
    weight: Tensor
    bias: Tensor


class _Norm(NamedTuple):
    scale: Tensor
    shift: Tensor


class _Layer(NamedTuple):
    attention: _Dense
    attended: _Dense
    attended_norm: _Norm
    inner: _Dense
    output: _Dense
    output_norm: _Norm


class BertEncoder:
    """Holds the weights of a model on a device and computes with them.

    It keeps no state between calls: several threads may use it at once.

    Args:
        directory: With ``config.json`` and ``model.safetensors``.
        device: As torch names it.
        precision: ``"float16"`` or ``"float32"``.

    Raises:
        DataError: if the model is not a plain BERT, or its weights are damaged.
    """

    def __init__(self, directory: Path, *, device: str, precision: str) -> None:
        config = read_config(directory)
        check_plain_bert(config)
        self._torch = import_from_extra("torch")
        self._device, self._dtype = device, getattr(self._torch, precision)
        self._heads = int(config["num_attention_heads"])
        self._eps = float(config.get("layer_norm_eps", 1e-12))
        self._is_mean = read_pooling(directory) == "mean"
        self._load(read_safetensors(directory / "model.safetensors"), config["num_hidden_layers"])

    def __call__(
        self, ids: Tensor, lengths: Tensor, *, is_padded: bool, output: Output = "embedding"
    ) -> Tensor:
        """Compute a batch; on a GPU it returns before that is done.

        Args:
            ids: int32 [rows, width] on the device.
            lengths: int32 [rows] on the device, how many of a row's ids are tokens.
            is_padded: Whether any length is under the width.
            output: What to return.

        Returns:
            float32 [rows, hidden], or [rows, width, hidden] for ``output="tokens"``, in which what
            stands behind a row's length means nothing. All rows have length 1.
        """
        with self._torch.inference_mode():
            is_token = self._torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            hidden = self._encoded(ids, self._bias(is_token) if is_padded else None)
            if output == "embedding":
                hidden = self._pooled(hidden, is_token)
            return self._torch.nn.functional.normalize(hidden.float(), dim=-1)

    def _load(self, weights: Weights, layers: int) -> None:
        def tensor(array: Any) -> Tensor:
            own = self._torch.from_numpy(np.array(array, dtype=np.float32))
            return own.to(self._device, self._dtype)

        def dense(*names: str) -> _Dense:
            matrices = [weight(weights, f"{name}.weight") for name in names]
            biases = [weight(weights, f"{name}.bias") for name in names]
            return _Dense(tensor(np.concatenate(matrices)), tensor(np.concatenate(biases)))

        def norm(name: str) -> _Norm:
            return _Norm(*(tensor(weight(weights, f"{name}.{n}")) for n in ("weight", "bias")))

        # Every text is one segment, so the type embedding is a constant: folded into positions.
        self._positions = tensor(
            weight(weights, "embeddings.position_embeddings.weight")
            + weight(weights, "embeddings.token_type_embeddings.weight")[0]
        )
        self._words = tensor(weight(weights, "embeddings.word_embeddings.weight"))
        self._norm = norm("embeddings.LayerNorm")
        self._layers = [
            _Layer(
                dense(*(f"{at}.attention.self.{part}" for part in _PARTS)),
                dense(f"{at}.attention.output.dense"),
                norm(f"{at}.attention.output.LayerNorm"),
                dense(f"{at}.intermediate.dense"),
                dense(f"{at}.output.dense"),
                norm(f"{at}.output.LayerNorm"),
            )
            for at in (f"encoder.layer.{n}" for n in range(layers))
        ]

    def _bias(self, is_token: Tensor) -> Tensor:
        """Return what is added to the scores: nothing for tokens, minus infinity for padding."""
        bias = self._torch.zeros(is_token.shape, dtype=self._dtype, device=is_token.device)
        return bias.masked_fill_(~is_token, float("-inf"))[:, None, None, :]

    def _encoded(self, ids: Tensor, bias: Tensor | None) -> Tensor:
        functional = self._torch.nn.functional
        hidden = functional.embedding(ids, self._words) + self._positions[: ids.shape[1]]
        hidden = self._normed(hidden, self._norm)
        for layer in self._layers:
            attended = functional.linear(self._attention(hidden, layer, bias), *layer.attended)
            hidden = self._normed(hidden + attended, layer.attended_norm)
            inner = functional.gelu(functional.linear(hidden, *layer.inner))
            hidden = self._normed(
                hidden + functional.linear(inner, *layer.output), layer.output_norm
            )
        return hidden

    def _attention(self, hidden: Tensor, layer: _Layer, bias: Tensor | None) -> Tensor:
        rows, width, size = hidden.shape
        together = self._torch.nn.functional.linear(hidden, *layer.attention)
        parts = together.view(rows, width, 3, self._heads, size // self._heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind()
        attended = self._torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias
        )
        return attended.transpose(1, 2).reshape(rows, width, size)

    def _normed(self, hidden: Tensor, norm: _Norm) -> Tensor:
        return self._torch.nn.functional.layer_norm(
            hidden, hidden.shape[-1:], norm.scale, norm.shift, self._eps
        )

    def _pooled(self, hidden: Tensor, is_token: Tensor) -> Tensor:
        if not self._is_mean:
            return hidden[:, 0]
        # Not divided by the number of tokens: normalising the length undoes any scale.
        return (hidden * is_token[:, :, None]).sum(dim=1, dtype=self._torch.float32)

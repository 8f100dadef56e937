"""Says how good a result is, and how sure that is.

Layout:
    ranking   nDCG@k, recall@k, reciprocal rank, average precision; bootstrap intervals
"""

from __future__ import annotations

from sage.libs.evaluation.ranking import (
    Interval,
    average_precision,
    bootstrap_difference,
    bootstrap_interval,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank,
)

__all__ = [
    "Interval",
    "average_precision",
    "bootstrap_difference",
    "bootstrap_interval",
    "ndcg_at_k",
    "recall_at_k",
    "reciprocal_rank",
]

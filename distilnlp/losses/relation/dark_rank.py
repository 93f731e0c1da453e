"""Losses on ranks: in which order the other examples of a batch come, by their distance from one of them."""

from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError, unknown
from distilnlp.losses.base import register_loss
from distilnlp.losses.checks import check_count, check_positive
from distilnlp.losses.pooling import unit
from distilnlp.losses.relation.base import RelationalLoss
from distilnlp.losses.response.base import kl_divergence

__all__ = ["DarkRank"]


@register_loss("dark_rank")
@dataclass(frozen=True)
class DarkRank(RelationalLoss):
    """``-log P_s(teacher's order)``, or ``KL(P_t || P_s)`` over all orders, of the texts nearest to each text.

    An order ``o`` of ``k`` texts has ``P(o) = prod_i exp(S_o(i)) / sum_{j >= i} exp(S_o(j))``, with the score
    ``S_j = -alpha d_j^beta`` of a text at distance ``d_j`` from the first, of unit vectors.

    Depends on which examples meet in a batch: micro-batches give another loss. Widths are free. Fewer than three
    examples give 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
        kind: ``hard``: the likelihood of the teacher's order; ``soft``: the divergence over all ``k!`` orders.
        candidates: ``k`` >= 2, the texts that the teacher has nearest to a text; fewer in a small batch. At most 6 for
            ``soft`` (720 orders).
        alpha: > 0, dimensionless.
        beta: >= 1, dimensionless.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: nats per example, mean over examples and layers; unchanged when a model's states are rotated or scaled.
        ``soft`` is 0 where the models are equal and ``hard`` is not.
    Raises:
        RequestError: an unknown kind; ``candidates`` out of range; ``alpha`` not positive; ``beta`` below 1 (the
            gradient at distance 0 would be infinite); a layer out of range; an example without a token.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Chen et al.",
            2018,
            "DarkRank: Accelerating Deep Metric Learning via Cross Sample Similarities Transfer",
            "arXiv:1707.01220",
            differs=(
                "With alpha, beta and candidates of the code of RKD (the authors' example has 12.25, 4 and 4, for "
                "``soft``). Every text of the batch is a query once; the authors' code takes half of them, and ranks "
                "all others for ``hard``. Vectors have length 1, as theirs, for the score grows with the power "
                "``beta`` of their size."
            ),
        ),
    )

    kind: Literal["hard", "soft"] = "hard"
    candidates: int = 4
    alpha: float = 3.0
    beta: float = 3.0

    smallest_batch: ClassVar[int] = 3
    most_permuted: ClassVar[int] = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("hard", "soft"):
            raise unknown(f"kind of {self.name}:", str(self.kind), ("hard", "soft"))
        check_count("candidates", self.candidates)
        if self.candidates < 2 or (self.kind == "soft" and self.candidates > self.most_permuted):
            raise RequestError(
                f"candidates must be at least 2, and at most {self.most_permuted} for kind 'soft', which goes through "
                f"all their orders; got {self.candidates}"
            )
        check_positive("alpha", self.alpha)
        check_positive("beta", self.beta)
        if self.beta < 1:
            raise RequestError(
                f"beta must be at least 1 (below, the gradient at distance 0 is infinite); got {self.beta}"
            )

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        scores_s, scores_t = self._scores(student), self._scores(teacher)  # (batch, batch)
        itself = torch.eye(len(teacher), dtype=torch.bool, device=teacher.device)
        count = min(self.candidates, len(teacher) - 1)
        ranked = scores_t.masked_fill(itself, -torch.inf).topk(count, dim=1)
        order_s, order_t = scores_s.gather(1, ranked.indices), ranked.values  # (batch, candidates), best first
        if self.kind == "hard":
            return -_log_likelihood(order_s).mean()
        orders = torch.tensor(list(permutations(range(count))), device=teacher.device)  # (orders, candidates)
        log_q, log_p = (_log_likelihood(scores[:, orders]) for scores in (order_s, order_t))  # (batch, orders)
        return kl_divergence(log_p, log_q).mean()

    def _scores(self, vectors: Tensor) -> Tensor:
        directions = unit(vectors)
        # Unlike a square root, cdist has gradient 0 at distance 0.
        distances = torch.cdist(directions, directions, compute_mode="donot_use_mm_for_euclid_dist")
        return -self.alpha * distances**self.beta


def _log_likelihood(scores: Tensor) -> Tensor:
    """Log of the probability of the order in which the scores stand on the last axis."""
    rest = scores.flip(-1).logcumsumexp(dim=-1).flip(-1)
    return (scores - rest).sum(dim=-1)

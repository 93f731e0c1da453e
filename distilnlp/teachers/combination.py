"""How the answers of several teachers become one."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.problems import IGNORED, Problem
from distilnlp.teachers.privacy import vote_epsilon

__all__ = ["Combination", "Combine", "Weights"]

Combine = Literal["logits", "probabilities", "stochastic", "noisy_vote"]
Weights = list[float] | Literal["confidence", "loss"] | None

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Combination:
    """The logits of several teachers, put together.

    With logits ``z_k`` of teacher k and its weight ``w_k``, which sum to 1, for a row of logits:

    - ``logits``: ``sum_k w_k z_k``.
    - ``probabilities``: ``log sum_k w_k softmax(z_k)``; of several labels the log-odds of ``sum_k w_k sigmoid(z_k)``,
      each label by itself.
    - ``stochastic``: those of one teacher, drawn for each optimizer step with the probabilities ``w_k``.
    - ``noisy_vote``: near certainty of the class with the most votes after Gaussian noise (see `noisy_vote`).

    Args:
        combine: which of these.
        weights: a number >= 0 for each teacher (scaled to sum 1), or how they follow from each row: ``confidence``,
            ``w_k = c_k / sum c`` with ``c_k`` the largest probability of teacher k (of several labels, of the label
            holding or not); ``loss``, ``w = softmax(-l)`` with ``l_k`` its loss against the label (equal where a row
            has none). None: equal weights.
        sigma: of ``noisy_vote``: the standard deviation of the noise, >= 0, in votes.
        delta: of ``noisy_vote``: the delta at which its privacy is told, 0 < delta < 1; less than 1 / rows.
    Source: Hinton et al. 2015, arXiv:1503.02531, section 3 (means); Fukuda et al. 2017, "Efficient Knowledge
        Distillation from an Ensemble of Teachers", Interspeech (stochastic: there a teacher is drawn for each
        mini-batch, here for each optimizer step).
    Raises:
        RequestError: weights that are negative, no numbers, or all 0; weights that follow from the row where a teacher
            is drawn before anybody has answered.
    """

    combine: Combine = "logits"
    weights: Weights = None
    sigma: float | None = None
    delta: float = 1e-5

    def __post_init__(self) -> None:
        self._check_vote()
        if isinstance(self.weights, list):
            wrong = [each for each in self.weights if not (math.isfinite(each) and each >= 0)]
            if wrong or not sum(self.weights) > 0:
                told = f"{wrong[0]}" if wrong else "0 for every teacher"
                raise RequestError(f"weights of teachers are numbers >= 0, not all 0; got {told}", ["weights"])
            if not math.isclose(sum(self.weights), 1, abs_tol=1e-6):
                logger.info("the weights of the teachers sum to %g and are scaled to 1", sum(self.weights))
        elif self.weights is not None and self.combine == "stochastic":
            raise RequestError(
                f"weights: {self.weights} follow from the answers, and stochastic draws the one teacher that is asked:"
                " give a number for each teacher, or leave weights out",
                ["weights"],
            )

    def _check_vote(self) -> None:
        votes = self.combine == "noisy_vote"
        if votes and self.sigma is None:
            raise RequestError(
                "noisy_vote needs sigma, the standard deviation of the noise in votes, as 20", ["combine"]
            )
        if not votes and self.sigma is not None:
            raise RequestError(f"sigma is for combine: noisy_vote; {self.combine} has no noise", ["sigma"])
        if self.sigma is not None and not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise RequestError(f"sigma is a number of votes, 0 or more; got {self.sigma}", ["sigma"])
        if votes and self.weights is not None:
            raise RequestError("of noisy_vote every teacher has one vote: leave weights out", ["weights"])
        if not 0 < self.delta < 1:
            raise RequestError(f"delta lies between 0 and 1, as 1e-5; got {self.delta}", ["delta"])

    def epsilon(self, queries: int) -> float:
        """What so many votes cost (see `vote_epsilon`)."""
        return vote_epsilon(queries, self.sigma or 0.0, self.delta)

    @property
    def reads_labels(self) -> bool:
        """Whether the labels of a batch decide."""
        return self.weights == "loss"

    @cached_property
    def fixed(self) -> tuple[float, ...] | None:
        """The weights that are said, scaled to sum 1."""
        if not isinstance(self.weights, list):
            return None
        return tuple(each / sum(self.weights) for each in self.weights)

    def check_count(self, names: Sequence[str]) -> None:
        """Raise RequestError for other than one weight for each teacher."""
        if self.fixed is not None and len(self.fixed) != len(names):
            raise RequestError(
                f"weights has {len(self.fixed)} numbers, and there are {len(names)} teachers ({', '.join(names)}): one"
                " for each is needed, in their order",
                ["weights"],
            )

    def check_problem(self, problem: Problem) -> None:
        """Raise RequestError for a kind of task whose answers cannot be put together so.

        Probabilities need a row for each text or token whose classes exclude one another, or several labels; losses
        against a label, such a row or a number.
        """
        has_rows = problem.rows in ("text", "token") and not problem.vectors
        chances = has_rows and (problem.exclusive_classes or problem.several_labels)
        if (self.combine == "probabilities" or self.weights == "confidence") and not chances:
            key, value = ("combine", self.combine) if self.combine == "probabilities" else ("weights", self.weights)
            instead = "use combine: logits" if key == "combine" else "give numbers, or leave weights out"
            raise RequestError(
                f"{key}: {value} needs probabilities of classes or labels, and {problem.name} has none in a row of its"
                f" own: {instead}",
                [key],
            )
        if self.combine == "noisy_vote" and not (problem.exclusive_classes and problem.rows == "text"):
            raise RequestError(
                f"combine: noisy_vote needs one class for each text, and {problem.name} has none: use combine: logits,"
                " which is not private",
                ["combine"],
            )
        if self.reads_labels and not has_rows:
            raise RequestError(
                f"weights: loss compares each answer with its label, and {problem.name} has no row with a label of its"
                " own: give numbers, or leave weights out",
                ["weights"],
            )

    def asked(self, count: int, seed: int, step: int) -> list[int]:
        """The places of the teachers whose logits are needed at an optimizer step.

        Args:
            count: how many teachers there are.
            seed: of what is drawn; ``step``: how many are done. Nothing else decides, so that every process, and a
                resumed training, draws the same.
        """
        shares = self.fixed or (1 / count,) * count
        if self.combine != "stochastic":
            return [place for place, share in enumerate(shares) if share > 0]
        return [int(np.random.default_rng([seed, step]).choice(count, p=shares))]

    def logits(
        self, answers: Sequence[Tensor], problem: Problem, labels: Tensor | None = None, places: Sequence[int] = ()
    ) -> Tensor:
        """One answer out of several.

        Args:
            answers: the logits of the teachers that were asked.
            problem: the kind of task that they are of.
            labels: of the batch; None where they do not decide.
            places: of the teachers that were asked; default: all of them.
        Shapes:
            answers, and what is returned: ``(batch, ..., classes)``.
        """
        stacked = torch.stack([each if each.dtype == torch.float64 else each.float() for each in answers])
        if len(stacked) == 1:
            return stacked[0]
        weights = self._weights(stacked, problem, labels, places or range(len(stacked)))
        if self.combine == "logits":
            return (weights * stacked).sum(dim=0)
        if problem.several_labels:
            holds, fails = (torch.logsumexp(F.logsigmoid(z) + weights.log(), dim=0) for z in (stacked, -stacked))
            return holds - fails
        return torch.logsumexp(F.log_softmax(stacked, dim=-1) + weights.log(), dim=0)

    def _weights(self, stacked: Tensor, problem: Problem, labels: Tensor | None, places: Sequence[int]) -> Tensor:
        """Those of each teacher, as large as the logits ``(teachers, batch, ..., classes)`` or broadcast to them."""
        if self.weights == "confidence":
            if problem.several_labels:
                highest = torch.sigmoid(stacked.abs())
            else:
                highest = torch.softmax(stacked, dim=-1).amax(dim=-1, keepdim=True)
            return highest / highest.sum(dim=0)
        if self.weights == "loss":
            return torch.softmax(-self._losses(stacked, problem, labels), dim=0)
        fixed = self.fixed or (1 / len(stacked),) * len(stacked)
        chosen = stacked.new_tensor([fixed[place] for place in places])
        return (chosen / chosen.sum()).view(-1, *[1] * (stacked.ndim - 1))

    @staticmethod
    def _losses(stacked: Tensor, problem: Problem, labels: Tensor | None) -> Tensor:
        """The loss of each row of each teacher, ``(teachers, batch, ..., 1)``; 0 for a row without a label."""
        if labels is None:
            raise RequestError("weights: loss needs labels and the batch has none: give numbers, or leave weights out")
        by_text = stacked.ndim == 3  # (teachers, batch, classes): a row a text
        if not labels.is_floating_point():
            labels = labels[:, None] if by_text and labels.ndim == 1 else labels
            real = labels != IGNORED
            labels = labels.where(real, 0)
        else:
            real = labels == labels  # a number that is missing is NaN
            labels = labels.where(real, 0)
        losses = [problem.row_loss(each[:, None] if by_text else each, labels) for each in stacked]
        if not problem.several_labels:
            losses = [each.where(real.view_as(each), 0) for each in losses]
        found = torch.stack(losses)
        return found if by_text else found[..., None]

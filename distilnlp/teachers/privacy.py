"""Votes of teachers with noise (PATE): who learns from them learns little of any single row of the teachers' data."""

import hashlib
import math
import secrets
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.problems import LEAST_PROBABILITY

__all__ = ["Noise", "noisy_vote", "vote_epsilon"]

KEY_BYTES = 32


class Noise:
    """Gaussian noise for every class of every example, drawn once: a question that is repeated gets the same answer.

    It follows from a secret key and the tokens of the example and from nothing else, so that order, padding, epochs
    and processes are of no account.

    Args:
        seed: None draws the key from the operating system. With a seed the noise can be drawn again, and taken off, by
            whoever knows it.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.key = secrets.token_bytes(KEY_BYTES) if seed is None else hashlib.sha256(str(seed).encode()).digest()

    def share(self) -> None:
        """Take the key of the first process, in every process."""
        held = [self.key]
        broadcast_object_list(held)
        self.key = held[0]

    def draw(self, batch: Mapping[str, Tensor], classes: int) -> Tensor:
        """Standard normal numbers, ``(batch, classes)``, float64, for the examples of a batch.

        Args:
            batch: ``input_ids`` and, where it is padded, ``attention_mask``, each ``(batch, tokens)``.
            classes: how many there are.
        Raises:
            RequestError: a batch without tokens, by which an example could be known again.
        """
        if "input_ids" not in batch:
            raise RequestError("a vote needs the tokens of each example, to draw its noise once: the batch has none")
        ids = batch["input_ids"].cpu()
        mask = batch.get("attention_mask")
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.cpu().bool()
        rows = []
        for tokens, own in zip(ids, real, strict=True):
            told = tokens[own].numpy().astype(np.int64).tobytes()
            digest = hashlib.blake2b(told, key=self.key, digest_size=32).digest()
            rows.append(np.random.default_rng(np.frombuffer(digest, np.uint32)).standard_normal(classes))
        return torch.from_numpy(np.stack(rows))


def noisy_vote(answers: Sequence[Tensor], noise: Tensor, sigma: float) -> Tensor:
    """Logits of the class with the most votes after noise: near certain, as those of a label.

    Args:
        answers: the logits of each teacher, ``(batch, classes)``; each votes for its largest one.
        noise: as `Noise.draw` gives it.
        sigma: its standard deviation in votes.
    Returns:
        ``(batch, classes)``, float32: 0 for the class, ``log(1e-8)`` for the others.
    Source: Papernot et al. 2018, "Scalable Private Learning with PATE", arXiv:1802.08908 (GNMax).
    """
    classes = answers[0].shape[-1]
    votes = sum(torch.nn.functional.one_hot(each.argmax(dim=-1), classes) for each in answers)
    noisy = torch.as_tensor(votes).double() + sigma * noise.to(answers[0].device)
    chosen = torch.nn.functional.one_hot(noisy.argmax(dim=-1), classes).bool()
    return torch.full(chosen.shape, math.log(LEAST_PROBABILITY), device=chosen.device).masked_fill(chosen, 0.0)


def vote_epsilon(queries: int, sigma: float, delta: float) -> float:
    """The epsilon of ``(epsilon, delta)``-differential privacy after so many noisy votes, whatever was voted.

    A row more or less in the data changes one teacher, and so two counts by 1: each vote has the Renyi divergence
    ``lambda / sigma^2`` at order ``lambda``, which adds up over the votes. With ``a = queries / sigma^2`` the least
    over all orders is ``a + 2 sqrt(a ln(1 / delta))``.

    Args:
        queries: different examples that were asked about.
        sigma: of the noise, in votes; 0 gives infinity.
        delta: 0 < delta < 1.
    Source: Papernot et al. 2018, arXiv:1802.08908, proposition 8; Mironov 2017, arXiv:1702.07476, proposition 3.
    """
    if sigma == 0:
        return math.inf if queries else 0.0
    spent = queries / sigma**2
    return spent + 2 * math.sqrt(spent * math.log(1 / delta))

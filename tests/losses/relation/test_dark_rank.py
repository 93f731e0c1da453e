"""DarkRank against its formula: the order of the texts nearest to a text."""

import itertools
import math
from typing import Literal

import pytest

from distilnlp.errors import RequestError
from distilnlp.losses import DarkRank, get_loss
from tests.losses.cases import ONE, points, random


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("candidates", [2, 3, 6])
def test_dark_rank_is_its_written_definition(kind: Literal["hard", "soft"], candidates: int) -> None:
    s, t = random(0, 5, 4), random(1, 5, 7)
    units = [x / x.norm(dim=1, keepdim=True) for x in (s, t)]
    expected = 0.0
    for i in range(5):
        score_s, score_t = ([-2 * math.dist(x[i], x[j]) ** 1.5 for j in range(5)] for x in units)
        nearest = sorted((j for j in range(5) if j != i), key=lambda j: -score_t[j])[:candidates]

        def likelihood(scores: list[float], order: tuple[int, ...]) -> float:
            weights = [math.exp(scores[j]) for j in order]
            return math.prod(weights[k] / sum(weights[k:]) for k in range(len(weights)))

        if kind == "hard":
            expected -= math.log(likelihood(score_s, tuple(nearest))) / 5
        else:
            for order in itertools.permutations(nearest):
                p, q = likelihood(score_t, order), likelihood(score_s, order)
                expected += p * math.log(p / q) / 5
    got = DarkRank(ONE, "cls", kind, candidates, alpha=2.0, beta=1.5)(points(s), points(t), {})
    assert float(got) == pytest.approx(expected)


@pytest.mark.parametrize(
    "settings",
    [{"kind": "both"}, {"candidates": 1}, {"kind": "soft", "candidates": 7}, {"alpha": 0.0}, {"beta": 0.5}],
)
def test_dark_rank_refuses_what_it_cannot_rank(settings: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=list(settings)[-1]):
        get_loss("dark_rank", **settings)

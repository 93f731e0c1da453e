"""One target of several models: the numbers of the paper's formulas, and what must hold of any."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.teachers.collaborate import COMBINATIONS, linear, min_logit, naive

LOGITS = torch.tensor([[[2.0, 0.0, 1.0]], [[3.0, 2.0, 0.0]]])
LABEL = torch.tensor([0])


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def test_two_models_by_hand() -> None:
    """Cross-entropies .407606 and .349012; the best mixture has a weight of .44 on the first, and .305246."""
    assert [round(float(losses(each, LABEL)), 6) for each in LOGITS] == [0.407606, 0.349012]
    assert torch.equal(naive(LOGITS, LABEL), LOGITS[1])
    mixed = linear(LOGITS, LABEL)
    share = 3.0 - float(mixed[0, 0])  # of the first, whose logit is 2 where the second's is 3
    assert share == pytest.approx(0.44, abs=0.005)
    rounded = float(losses(0.44 * LOGITS[0] + 0.56 * LOGITS[1], LABEL))
    assert rounded == pytest.approx(0.305246, abs=1e-6)
    assert rounded - 1e-5 < float(losses(mixed, LABEL)) <= rounded
    least = min_logit(LOGITS, LABEL)
    torch.testing.assert_close(least, torch.tensor([[0.0, -2.0, -3.0]]))
    assert float(losses(least, LABEL)) == pytest.approx(0.169846, abs=1e-6)


@pytest.mark.parametrize("models", [2, 3, 5])
def test_a_combination_is_no_worse_than_the_best_model(models: int) -> None:
    generator = torch.Generator().manual_seed(models)
    logits = 3 * torch.randn(models, 64, 4, generator=generator)
    labels = torch.randint(0, 4, (64,), generator=generator)
    each = torch.stack([losses(one, labels) for one in logits])
    best = each.min(dim=0).values
    assert torch.equal(losses(naive(logits, labels), labels), best)
    assert bool((losses(linear(logits, labels), labels) <= best + 1e-6).all())
    assert bool((losses(min_logit(logits, labels), labels) <= best + 1e-6).all())


def test_the_mixture_of_three_is_the_best_of_all_mixtures() -> None:
    """Compared with a fine grid over all weights."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = 2 * torch.randn(3, 8, 4, generator=generator), torch.randint(0, 4, (8,), generator=generator)
    ticks = torch.linspace(0, 1, 101)
    weights = torch.stack([torch.stack([a, b, 1 - a - b]) for a in ticks for b in ticks if a + b <= 1])
    grid = torch.stack([losses((w[:, None, None] * logits).sum(dim=0), labels) for w in weights]).min(dim=0).values
    torch.testing.assert_close(losses(linear(logits, labels), labels), grid, atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_of_equal_models_it_is_what_they_say(name: str) -> None:
    logits, labels = (
        torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(1)).repeat(3, 1, 1),
        torch.arange(6) % 3,
    )
    found = COMBINATIONS[name](logits, labels)
    torch.testing.assert_close(found.softmax(dim=-1), logits[0].softmax(dim=-1))

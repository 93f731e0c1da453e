"""The task's own loss, by the kind of the labels."""

import pytest
import torch
import torch.nn.functional as F

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel
from distilnlp.outputs import Outputs


def test_hard_label_follows_the_kind_of_the_labels() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    classes = HardLabel()(Outputs(logits=logits), None, {"labels": torch.tensor([0, 0])})
    torch.testing.assert_close(classes, F.cross_entropy(logits, torch.tensor([0, 0])))
    several = HardLabel()(Outputs(logits=logits), None, {"labels": torch.tensor([[1.0, 0.0], [1.0, 1.0]])})
    torch.testing.assert_close(
        several, F.binary_cross_entropy_with_logits(logits, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    )
    target = HardLabel()(Outputs(logits=logits[:, :1]), None, {"labels": torch.tensor([1.0, 3.0])})
    assert float(target) == pytest.approx((1 + 9) / 2)


@pytest.mark.parametrize(
    ("logits", "batch", "message"),
    [
        (torch.zeros(2, 2), {}, "labels"),
        (torch.zeros(2, 2), {"labels": torch.tensor([0, 2])}, "0..1"),
        (torch.zeros(2, 1), {"labels": torch.tensor([0, 0])}, "at least two"),
        (torch.zeros(2, 3), {"labels": torch.tensor([0.5, 1.0])}, "one logit"),
    ],
)
def test_hard_label_refuses_what_would_train_the_wrong_thing(
    logits: torch.Tensor, batch: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        HardLabel()(Outputs(logits=logits), None, batch)

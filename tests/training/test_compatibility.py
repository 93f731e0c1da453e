"""A teacher whose labels have no names has to show that it counts them as the data does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.training.compatibility import check_teacher, confirm_label_order
from tests.runs import make_trainer


def test_what_is_no_teacher_is_refused_in_one_line(tmp_path: Path) -> None:
    """Without `release` it would fail when the training is over."""

    class Old:
        info = tokenizer = columns = label_names = None
        prepare = reorder_labels = __call__ = lambda *_: None

    for wrong in (Old(), torch.nn.Linear(2, 2)):
        with pytest.raises(RequestError, match=r"is no teacher: .* release and a call that gives outputs"):
            make_trainer(tmp_path, teacher=wrong)
    check_teacher(None)


NAMES = ("red", "green", "blue")
CLASSES = torch.arange(60) % 3
SEVERAL = torch.stack([torch.arange(60) % 2, torch.arange(60) % 3 == 0, torch.arange(60) % 5 == 0], dim=1).float()


def confirm(labels: Tensor, order: list[int], wrong: int = 0) -> None:
    """A teacher that answers with the labels themselves, its logits in another order; wrong on some of the texts."""
    answers = []
    for part in labels.split(16):
        holds = part if part.ndim == 2 else torch.nn.functional.one_hot(part, 3)
        logits = (2 * holds - 1.0)[:, order]
        logits[:wrong] *= -1
        answers.append((logits, part))
    confirm_label_order(answers, NAMES)


both = pytest.mark.parametrize("labels", [CLASSES, SEVERAL], ids=["one label a text", "several"])


@both
def test_the_same_order_passes(labels: Tensor) -> None:
    confirm(labels, [0, 1, 2])
    confirm(labels, [0, 1, 2], wrong=2)


@both
def test_another_order_is_refused_and_told(labels: Tensor) -> None:
    with pytest.raises(RequestError, match="100% when its logits are read as blue, red, green"):
        confirm(labels, [2, 0, 1])


@both
def test_a_teacher_that_knows_no_more_than_what_is_common_is_refused(labels: Tensor) -> None:
    always_red = torch.tensor([[1.0, -1.0, -1.0]]).repeat(len(labels), 1)
    with pytest.raises(RequestError, match=r"no better than always giving the commonest \(\d+%\)"):
        confirm_label_order([(always_red, labels)], NAMES)


def test_with_several_labels_every_one_of_a_text_is_an_answer() -> None:
    with pytest.raises(RequestError, match="on 180 answers"):
        confirm(SEVERAL, [2, 0, 1])


def test_without_labels_there_is_nothing_to_see_it_by() -> None:
    with pytest.raises(RequestError, match="no labels to check their order by"):
        confirm_label_order([], NAMES)

"""A teacher whose labels have no names has to show that it counts them as the data does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective
from distilnlp.problems import get_problem
from distilnlp.training.compatibility import check_teacher, confirm_label_order
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import make_trainer, student_model


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


def several(folder: Path, data: Any, **settings: Any) -> DistillationTrainer:
    """A trainer of a head of three labels, on its labels alone."""
    objective = Objective([(1.0, HardLabel(**settings))])
    model = student_model(problem_type="multi_label_classification")
    args = {"max_steps": 1}
    return make_trainer(folder, model=model, teacher=None, objective=objective, train_dataset=data, args=args)


HELD = Dataset.from_dict(
    {"text": ["a good film"] * 4, "label": [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]}
)


def test_balanced_weights_are_counted_in_the_training_data(tmp_path: Path) -> None:
    trainer = several(tmp_path, HELD, pos_weight="balanced")
    (term,) = trainer.distillation_objective
    assert term.loss == HardLabel(pos_weight=[3.0, 10.0, 1 / 3])
    trainer.train()


def test_balanced_weights_cannot_be_counted_in_a_stream(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a data set with a label column and no stream: give numbers instead"):
        several(tmp_path, HELD.to_iterable_dataset(), pos_weight="balanced")


def test_a_teacher_without_names_is_asked_by_its_own_thresholds() -> None:
    """At 0.5 it gives no label, which is as right as knowing nothing."""
    answers = [(2 * part - 4.0, part) for part in SEVERAL.split(16)]
    kind = get_problem("multi_label_classification")
    with pytest.raises(RequestError, match="no better than always giving the commonest"):
        confirm_label_order(answers, NAMES, kind)
    confirm_label_order(answers, NAMES, kind.decided_by([0.05] * 3))

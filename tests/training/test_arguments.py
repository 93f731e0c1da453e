"""What the trainer is given: what would train nothing, or something else than asked, is refused before step 0."""

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset
from torch import nn
from transformers import AutoModel

from distilnlp.errors import RequestError
from distilnlp.losses import HiddenState, Objective, SoftTarget
from distilnlp.teachers import load_teacher
from distilnlp.training.trainer import DistillationTrainer
from tests.runs import NAMES, dataset, make_trainer, student_model, teacher_model
from tests.tiny import tiny_model, tiny_tokenizer

PROJECTED = Objective([(1.0, SoftTarget()), (1.0, HiddenState())])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"model": "a/model"}, "model is the text 'a/model': give a model of transformers"),
        ({"model": nn.Linear(2, 2)}, "model is of type Linear"),
        ({"model": AutoModel.from_config(student_model().config)}, "BertModel, which has no head"),
        ({"objective": SoftTarget()}, "objective is of type SoftTarget: give an Objective"),
        ({"objective": [SoftTarget()]}, "objective is of type list"),
        ({"args": {"num_train_epochs": 1}}, "args is of type dict: give transformers.TrainingArguments"),
        ({"processing_class": "a/model"}, "processing_class is of type str: give a tokenizer"),
        ({"max_length": "12"}, "max_length is '12'"),
        ({"max_length": True}, "max_length is True"),
        ({"max_length": 0}, "max_length is 0"),
        ({"cache": "always"}, "cache is of type str: give CacheSettings"),
        ({"parts": [SoftTarget()]}, "parts is a list of objects of the class Part"),
        ({"compute_metrics": "f1"}, "compute_metrics is of type str: give a function"),
        ({"teacher": 3}, "int is no teacher"),
        ({"train_dataset": "data.csv"}, "train_dataset is a str"),
        ({"eval_dataset": ["a text"]}, "eval_dataset is a list"),
    ],
)
def test_an_argument_of_a_wrong_type_is_named_with_what_is_needed(argument: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        DistillationTrainer(**{"model": student_model(), "processing_class": tiny_tokenizer(), **argument})
    assert message in str(caught.value)


def test_a_model_cannot_be_its_own_teacher(tmp_path: Path) -> None:
    model = teacher_model()
    with pytest.raises(RequestError, match="student and teacher are one model"):
        make_trainer(tmp_path, model=model, teacher=model)
    shares = copy.deepcopy(model)
    shares.bert.embeddings = model.bert.embeddings
    with pytest.raises(RequestError, match=r"student and teacher share \d+ weights \(bert.embeddings"):
        make_trainer(tmp_path, model=shares, teacher=model)


def test_a_student_of_which_nothing_would_be_trained_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, model=student_model().requires_grad_(False))
    with pytest.raises(RequestError, match="requires_grad is False for every weight"):
        trainer.train()


def test_a_given_optimizer_must_hold_what_the_losses_learn_along(tmp_path: Path) -> None:
    student = student_model(hidden=16)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    trainer = make_trainer(tmp_path, model=student, objective=PROJECTED, optimizers=(optimizer, None))
    with pytest.raises(RequestError, match="does not hold distilnlp_modules"):
        trainer.train()
    only = {"params": list(student.parameters()), "lr": 1e-3}
    trainer = make_trainer(
        tmp_path, model=student, objective=PROJECTED, optimizer_cls_and_kwargs=(torch.optim.AdamW, only)
    )
    with pytest.raises(RequestError, match="does not hold distilnlp_modules"):
        trainer.train()


def test_an_optimizer_made_for_another_model_is_refused(tmp_path: Path) -> None:
    optimizer = torch.optim.AdamW(student_model().parameters(), lr=1e-3)
    trainer = make_trainer(tmp_path, model=student_model(), optimizers=(optimizer, None))
    with pytest.raises(RequestError, match="holds none of the student's weights"):
        trainer.train()


def test_a_given_optimizer_trains_the_student_and_may_leave_some_of_it(tmp_path: Path) -> None:
    student = student_model()
    before = student.classifier.weight.detach().clone()
    body = student.bert.embeddings.word_embeddings.weight.detach().clone()
    optimizer = torch.optim.AdamW(student.classifier.parameters(), lr=1e-2)
    make_trainer(tmp_path, model=student, optimizers=(optimizer, None)).train()
    assert not torch.equal(student.classifier.weight.cpu(), before)
    assert torch.equal(student.bert.embeddings.word_embeddings.weight.cpu(), body)


def test_optimizer_cls_and_kwargs_trains_the_projections_too(tmp_path: Path) -> None:
    student = student_model(hidden=16)
    trainer = make_trainer(
        tmp_path, model=student, objective=PROJECTED, optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 0.1})
    )
    trainer.train()  # else `check_optimizer` would have said so


# ---- one kind of task, one meaning of the labels ----


def test_a_config_of_another_kind_of_task_than_the_data_is_refused(tmp_path: Path) -> None:
    several = "multi_label_classification"
    with pytest.raises(RequestError, match=f"config says problem_type='{several}' .* 'single_label_classification'"):
        make_trainer(tmp_path, model=student_model(problem_type=several))
    with pytest.raises(RequestError, match=f"teacher's head is for '{several}' and the student's"):
        make_trainer(tmp_path, model=student_model(), teacher=teacher_model(problem_type=several))


def test_a_config_that_names_no_kind_gets_that_of_the_data(tmp_path: Path) -> None:
    model = tiny_model("bert", num_labels=3)
    model.config.problem_type = None
    rows = [{"text": "a good film", "label": [1, 0, 1]}, {"text": "a bad film", "label": [0, 1, 0]}] * 8
    trainer = make_trainer(tmp_path, model=model, teacher=None, objective=None, train_dataset=rows, eval_dataset=None)
    assert model.config.problem_type == "multi_label_classification"
    trainer.train()


def test_a_label_without_a_logit_is_refused_before_step_0(tmp_path: Path) -> None:
    rows = [{"text": "a good film", "label": label} for label in (0, 1, 5)]
    with pytest.raises(RequestError, match="train_dataset has the label 5 and the head has 3 classes"):
        make_trainer(tmp_path, train_dataset=rows, teacher=None, objective=None)
    with pytest.raises(RequestError, match=r"eval_dataset\['late'\] has the label 5"):
        make_trainer(tmp_path, eval_dataset={"late": rows})


def test_an_evaluation_set_that_counts_its_classes_otherwise_gives_the_same_scores(tmp_path: Path) -> None:
    data = dataset()
    turned = list(reversed(NAMES))
    rows = [{"text": row["text"], "label": len(NAMES) - 1 - row["label"]} for row in data]
    other = Dataset.from_list(rows).cast_column("label", ClassLabel(names=[name.upper() for name in turned]))
    trainer = make_trainer(tmp_path, eval_dataset=data)
    same = trainer.evaluate()["eval_accuracy"]
    assert trainer.evaluate(other)["eval_accuracy"] == same
    assert make_trainer(tmp_path, eval_dataset=other).evaluate()["eval_accuracy"] == same
    assert trainer.predict(other).metrics["test_accuracy"] == same


# ---- other data than those of the training ----


@pytest.mark.parametrize("kind", ["data set", "rows", "table", "splits"])
def test_evaluate_and_predict_take_texts_as_the_constructor_does(tmp_path: Path, kind: str) -> None:
    data = dataset().select(range(12))
    given: Any = {"data set": data, "rows": list(data), "table": pd.DataFrame(list(data)), "splits": {"x": data}}[kind]
    trainer = make_trainer(tmp_path, eval_dataset=data)
    scores = trainer.evaluate(given)
    assert scores["eval_x_accuracy" if kind == "splits" else "eval_accuracy"] == trainer.evaluate()["eval_accuracy"]
    if kind == "splits":
        with pytest.raises(RequestError, match="test_dataset has the splits x"):
            trainer.predict(given)
    else:
        assert trainer.predict(given).predictions.shape == (12, 3)


def test_one_of_several_evaluation_sets_is_named(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, eval_dataset={"matched": dataset(), "mismatched": dataset(seed=1)})
    assert "eval_accuracy" in trainer.evaluate("matched")
    with pytest.raises(RequestError, match="unknown evaluation set 'matchd': did you mean 'matched'"):
        trainer.evaluate("matchd")
    with pytest.raises(RequestError, match="eval_dataset is a str"):
        make_trainer(tmp_path, eval_dataset=dataset()).evaluate("matched")


def test_texts_without_labels_are_predicted(tmp_path: Path) -> None:
    assert make_trainer(tmp_path).predict([{"text": "a good film"}]).predictions.shape == (1, 3)


def test_a_trainer_that_was_given_no_data_measures_by_the_heads_kind(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, teacher=None, objective=None, train_dataset=None, eval_dataset=None)
    assert "eval_accuracy" in trainer.evaluate(dataset())
    for ask, missing in ((trainer.train, "train on"), (trainer.evaluate, "evaluate on")):
        with pytest.raises(RequestError, match=f"there is nothing to {missing}"):
            ask()


def test_a_teacher_that_was_frozen_with_its_own_copy_of_the_student_trains(tmp_path: Path) -> None:
    model = teacher_model()
    make_trainer(tmp_path, model=copy.deepcopy(model), teacher=load_teacher(model, tiny_tokenizer())).train()

"""Rankers in the trainer: a batch holds whole queries, and how they are put into batches changes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from transformers import PreTrainedModel

from distilnlp.data import tokenize
from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, MarginMSE, Objective, SoftTarget
from distilnlp.models.backend import TorchBackend
from distilnlp.models.predictor import Predictor
from distilnlp.problems import get_problem
from distilnlp.report.scores import compute_scores
from distilnlp.teachers import CacheSettings
from tests.runs import largest_difference, make_trainer, without_dropout
from tests.tiny import CLASS_WORDS, tiny_model, tiny_tokenizer

OBJECTIVE = Objective([(0.5, HardLabel()), (0.5, SoftTarget()), (0.1, MarginMSE()), (1.0, HiddenState())])


def queries(count: int = 11) -> Dataset:
    """Of two to five texts each, as `load_task` gives them."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        words, others = CLASS_WORDS[number % 2], CLASS_WORDS[2 + number % 2]
        texts = [" ".join(rng.choice(others, 2 + number % 3)) for _ in range(1 + number % 4)]
        rows.append({"text": f"the {words[0]}", "text_pair": [*texts, words[1]], "label": [0.0] * len(texts) + [1.0]})
    return Dataset.from_list(rows)


def ranker(layers: int = 2, seed: int = 2) -> PreTrainedModel:
    model = tiny_model("bert", layers=layers, num_labels=1, problem_type="ranking", seed=seed)
    without_dropout(model)
    return model


def trained(folder: Path, **changes: Any) -> PreTrainedModel:
    settings: dict[str, Any] = {"objective": OBJECTIVE, "train_dataset": queries(), "model": ranker()}
    make_trainer(folder, teacher=ranker(4, 1), **{**settings, **changes}).train()
    model: PreTrainedModel = changes.get("model", settings["model"])
    return model


@pytest.mark.parametrize(("accumulation", "size"), [(2, 4), (4, 2), (8, 1)])
def test_micro_batches_of_whole_queries_give_the_same_update(tmp_path: Path, accumulation: int, size: int) -> None:
    """11 queries of 2 to 5 texts: the mean of every term, that over tokens too, is one over the queries."""
    models = [
        trained(tmp_path, args={"gradient_accumulation_steps": steps, "per_device_train_batch_size": batch})
        for steps, batch in ((1, 8), (accumulation, size))
    ]
    assert largest_difference(*models) < 1e-6


def test_the_kept_answers_of_a_teacher_train_as_the_teacher_does(tmp_path: Path) -> None:
    args = {"num_train_epochs": 2}
    models = [trained(tmp_path, args=args, cache=CacheSettings(use=use)) for use in ("never", "always")]
    assert largest_difference(*models) < 1e-6


def test_a_batch_has_the_texts_of_its_queries_and_says_whose_they_are(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, model=ranker(), teacher=None, objective=None, train_dataset=queries())
    for batch in trainer.get_train_dataloader():
        groups = batch["groups"]
        assert next(iter(batch)) == "groups"  # its length is taken for the number of examples
        places = groups[groups >= 0]
        assert places.tolist() == list(range(len(batch["input_ids"])))
        assert ((batch["labels"] == 1).sum(dim=1) == 1).all()
        assert ((batch["labels"] == -100) == (groups < 0)).all()


def test_an_evaluation_scores_each_query_once_whatever_the_batch(tmp_path: Path) -> None:
    """The last batch is not full, and its texts are more than its queries."""
    model, data = ranker(), queries()
    predictor = Predictor(TorchBackend(model), tiny_tokenizer())
    found = predictor.answered([tuple(row) for row in zip(data["text"], data["text_pair"], strict=True)])
    relevance = np.concatenate([np.array(each) for each in data["label"]])
    expected = compute_scores(
        ("ndcg@10", "mrr@10", "map"), found.logits[:, 0], relevance, "ranking", examples=found.example
    )
    for size in (3, 4, 16):
        args = {"per_device_eval_batch_size": size}
        trainer = make_trainer(
            tmp_path, model=model, teacher=None, objective=None, train_dataset=data, eval_dataset=data, args=args
        )
        metrics = trainer.evaluate()
        assert {name: metrics[f"eval_{name}"] for name in expected} == pytest.approx(expected)


def test_the_loss_of_an_evaluation_is_a_mean_over_the_queries(tmp_path: Path) -> None:
    losses = []
    for size in (1, 4):
        args = {"per_device_eval_batch_size": size}
        trainer = make_trainer(
            tmp_path,
            model=ranker(),
            teacher=None,
            objective=None,
            train_dataset=queries(),
            eval_dataset=queries(),
            args=args,
        )
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_a_student_without_a_kind_takes_that_of_lists_and_learns_to_rank(tmp_path: Path) -> None:
    model = tiny_model("bert", num_labels=1)
    trainer = make_trainer(
        tmp_path,
        model=model,
        teacher=None,
        objective=None,
        train_dataset=queries(40),
        eval_dataset=queries(40),
        args={"num_train_epochs": 12, "optim": "adamw_torch", "learning_rate": 3e-3},
    )
    assert model.config.problem_type == "ranking"
    before = trainer.evaluate()["eval_ndcg@10"]
    trainer.train()
    assert trainer.evaluate()["eval_ndcg@10"] > before + 0.1


def test_tokens_of_a_query_are_a_row_and_long_texts_are_told() -> None:
    data = queries(3)
    tokens = tokenize(data, tiny_tokenizer())
    assert len(tokens) == 3 and [len(ids) for ids in tokens["input_ids"]] == [2, 3, 4]
    assert tokens["labels"][:] == data["label"][:]
    assert tokens["length"][0] == max(map(len, tokens["input_ids"][0]))
    with pytest.raises(RequestError, match="9 of 9 texts are longer than max_length=5"):
        tokenize(data, tiny_tokenizer(), max_length=5)


def test_weights_of_queries_are_refused() -> None:
    weighted = queries(3).add_column("example_weight", [1.0, 2.0, 3.0])
    with pytest.raises(RequestError, match="every query counts alike"):
        tokenize(weighted, tiny_tokenizer(), problem=get_problem("ranking"))

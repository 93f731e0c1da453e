"""Bi-encoders in the trainer: queries and texts are inputs of their own, and a loss is of the scores of queries."""

from pathlib import Path
from typing import Any

import pytest
import torch

from distilnlp.data import tokenize
from distilnlp.data.collate import make_collator
from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, LogitMSE, MarginMSE, Objective, SoftTarget
from distilnlp.models.sentence_encoder import SentenceEncoder
from distilnlp.problems import problem_of_queries
from distilnlp.teachers import EMATeacher
from tests.models.test_sentence_encoder import PLAIN, tiny_encoder
from tests.runs import largest_difference, make_trainer, without_dropout
from tests.tiny import tiny_tokenizer
from tests.training.test_ranking import queries, ranker

OBJECTIVE = Objective([(0.5, HardLabel()), (0.5, SoftTarget()), (0.1, MarginMSE()), (0.1, LogitMSE())])


def bi_encoder() -> SentenceEncoder:
    model = tiny_encoder(modules=PLAIN)
    model.config.problem_type = problem_of_queries().name
    without_dropout(model)
    return model


def trained(folder: Path, **changes: Any) -> SentenceEncoder:
    settings: dict[str, Any] = {"objective": OBJECTIVE, "train_dataset": queries(), "model": bi_encoder()}
    make_trainer(folder, **{"teacher": ranker(4, 1), **settings, **changes}).train()
    model: SentenceEncoder = changes.get("model", settings["model"])
    return model


@pytest.mark.parametrize(("accumulation", "size"), [(2, 4), (8, 1)])
def test_micro_batches_of_whole_queries_give_the_same_update(tmp_path: Path, accumulation: int, size: int) -> None:
    models = [
        trained(tmp_path, args={"gradient_accumulation_steps": steps, "per_device_train_batch_size": batch})
        for steps, batch in ((1, 8), (accumulation, size))
    ]
    assert largest_difference(*models) < 1e-6


@torch.no_grad()
def test_a_live_teacher_trains_as_its_recorded_scores_do(tmp_path: Path) -> None:
    from distilnlp.teachers import RecordedTeacher

    teacher, data = ranker(4, 1), queries()
    scores = []
    for row in data:
        pairs = tiny_tokenizer()([[row["text"], text] for text in row["text_pair"]], padding=True, return_tensors="pt")
        scores.append(teacher(**pairs).logits[:, 0].tolist())
    with torch.enable_grad():
        live = trained(tmp_path / "live")
        recorded = trained(
            tmp_path / "recorded",
            train_dataset=data.add_column("teacher_logits", scores),
            teacher=RecordedTeacher(None, problem_of_queries()),
        )
    assert largest_difference(live, recorded) < 1e-6


def test_an_evaluation_in_the_trainer_is_of_the_order_of_the_texts(tmp_path: Path) -> None:
    model = bi_encoder()
    trainer = make_trainer(
        tmp_path,
        model=model,
        teacher=ranker(4, 1),
        objective=OBJECTIVE,
        train_dataset=queries(),
        eval_dataset=queries(5),
    )
    found = trainer.evaluate()
    assert 0 < found["eval_ndcg@10"] <= 1
    tokens = tokenize(queries(5), tiny_tokenizer(), problem=problem_of_queries())
    batch = make_collator(tiny_tokenizer())([tokens[place] for place in range(5)])
    with torch.no_grad():
        vectors = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}).logits
    assert vectors is not None
    scores, read = problem_of_queries().scored(vectors, batch)
    own = HardLabel()
    from distilnlp.outputs import Outputs

    assert found["eval_loss"] == pytest.approx(
        float(own(Outputs(logits=scores, problem=problem_of_queries()), None, read)), rel=1e-5
    )


def test_texts_that_are_cut_are_counted_and_measured_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    tokenize(queries(), tiny_tokenizer(), 5, problem=problem_of_queries())
    assert "texts are longer than max_length=5 (the longest has 6 tokens)" in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": Objective([(1.0, HiddenState())])}, "hidden_state compares more than scores"),
        ({"teacher": EMATeacher()}, "EMATeacher gives none"),
        ({"model": None, "model_init": bi_encoder}, "give it as model="),
    ],
)
def test_what_has_no_scores_teaches_no_bi_encoder(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        trained(tmp_path, **changes)

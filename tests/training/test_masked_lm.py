"""A training on masked words: masks follow from seed, epoch and text, and logits are those of hidden words alone."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, TrainerCallback

from distilnlp.data import tokenize
from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective, SoftTarget, get_loss
from distilnlp.teachers import CacheSettings
from distilnlp.training.trainer import DistillationTrainer
from tests.masked import masked_model, shapes_made, texts_alone
from tests.runs import arguments, largest_difference, without_dropout
from tests.tiny import VOCAB, tiny_tokenizer

KINDS = ("bert", "roberta", "distilbert", "modernbert")


def objective() -> Objective:
    return Objective([(1.0, HardLabel()), (1.0, SoftTarget()), (1.0, get_loss("hidden_state_cosine"))])


def student(kind: str = "bert") -> PreTrainedModel:
    model = masked_model(kind, seed=2)
    without_dropout(model)
    return model


def trainer(folder: Path, kind: str = "bert", **changes: Any) -> DistillationTrainer:
    settings: dict[str, Any] = {
        "model": student(kind),
        "teacher": masked_model(kind, layers=4, seed=1),
        "objective": objective(),
        "train_dataset": texts_alone(120),
        "eval_dataset": texts_alone(12, seed=5),
        "processing_class": tiny_tokenizer(),
        "max_length": 24,
    }
    args = arguments(folder, **changes.pop("args", {}))
    return DistillationTrainer(args=args, **{**settings, **changes})


class Seen(TrainerCallback):
    """The inputs and labels of every batch of a training."""

    def __init__(self, made: DistillationTrainer) -> None:
        self.batches: list[dict[str, torch.Tensor]] = []
        compute = made.compute_loss

        def watched(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if model.training:
                self.batches.append({name: tensor.clone() for name, tensor in inputs.items()})
            return compute(model, inputs, *args, **kwargs)

        made.compute_loss = watched  # type: ignore[method-assign]

    def masked(self) -> dict[tuple[int, ...], set[tuple[int, ...]]]:
        """Of each text without its mask the masked ones."""
        found: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
        for batch in self.batches:
            for row, ids in enumerate(batch["input_ids"]):
                rows = batch["label_mask"][row].bool()
                places, labels = batch["head_tokens"][row][rows], batch["labels"][row][rows]
                plain = ids.clone()
                plain[places] = labels
                found.setdefault(tuple(plain.tolist()), set()).add(tuple(ids.tolist()))
        return found


def seen(folder: Path, **changes: Any) -> dict[tuple[int, ...], set[tuple[int, ...]]]:
    made = trainer(folder, **changes)
    watch = Seen(made)
    made.train()
    return watch.masked()


def test_each_epoch_hides_other_words_of_the_same_blocks(tmp_path: Path) -> None:
    masked = seen(tmp_path, args={"num_train_epochs": 3})
    assert all(len(versions) > 1 for versions in masked.values())
    once = seen(tmp_path, args={"num_train_epochs": 1})
    assert once.keys() == masked.keys()
    assert all(versions <= masked[text] for text, versions in once.items())


@pytest.mark.slow
def test_neither_micro_batches_nor_workers_change_the_masks(tmp_path: Path) -> None:
    plain = seen(tmp_path, args={"num_train_epochs": 2})
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    workers = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
    assert seen(tmp_path, args={"num_train_epochs": 2, **split}) == plain
    assert seen(tmp_path, args={"num_train_epochs": 2, **workers}) == plain
    assert seen(tmp_path, args={"num_train_epochs": 2, "data_seed": 9}) != plain


def test_micro_batches_give_the_weights_of_whole_ones(tmp_path: Path) -> None:
    """Although inputs have unlike numbers of hidden tokens."""
    models = []
    for split in ({}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}):
        made = trainer(tmp_path, args=split)
        made.train()
        models.append(made.student)
    assert largest_difference(*models) < 1e-5


def test_a_training_that_goes_on_from_a_checkpoint_ends_with_the_same_weights(tmp_path: Path) -> None:
    args = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 3}
    whole = trainer(tmp_path / "whole", args=args)
    whole.train()
    resumed = trainer(tmp_path / "resumed", args=args)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert largest_difference(whole.student, resumed.student) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_no_logits_of_whole_texts_are_made_by_either_model(tmp_path: Path, kind: str) -> None:
    """Not in the forward pass, nor in the losses, nor on the way back."""
    made = trainer(tmp_path, kind, max_length=48, args={"max_steps": 2})
    tokens = 8 * 48
    with shapes_made() as shapes:
        made.train()
        made.evaluate()
    rows = [
        numbers // len(VOCAB)
        for shape in shapes
        if shape and shape[-1] == len(VOCAB) and (numbers := torch.Size(shape).numel())
    ]
    assert rows and max(rows) < tokens / 3


def test_where_no_logits_are_read_neither_model_makes_any(tmp_path: Path) -> None:
    made = trainer(tmp_path, objective=Objective([(1.0, get_loss("minilm"))]), args={"max_steps": 2})
    with shapes_made() as shapes:
        made.train()
    weights = {(len(VOCAB), 32), (32, len(VOCAB)), (len(VOCAB),)}
    assert {shape for shape in shapes if len(VOCAB) in shape and 0 not in shape} <= weights


def test_an_evaluation_hides_the_same_words_each_time(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    first, second = made.evaluate(), made.evaluate()
    names = ("eval_loss", "eval_masked_accuracy", "eval_pseudo_perplexity")
    assert [first[name] for name in names] == [second[name] for name in names]
    made.train()
    assert made.evaluate()["eval_pseudo_perplexity"] < first["eval_pseudo_perplexity"]


def test_a_fine_tuning_on_masked_words_learns_them(tmp_path: Path) -> None:
    made = trainer(tmp_path, teacher=None, objective=None, args={"num_train_epochs": 8, "learning_rate": 0.5})
    before = made.evaluate()["eval_pseudo_perplexity"]
    made.train()
    assert made.evaluate()["eval_pseudo_perplexity"] < 0.95 * before


@pytest.mark.parametrize(
    "lost", [None, "bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.bias"]
)
def test_a_checkpoint_lacks_what_has_no_name_in_it_at_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, lost: str | None
) -> None:
    """Not the second name of a weight that is embedding and decoder in one."""
    made = trainer(tmp_path, args={"max_steps": 1, "save_strategy": "steps", "save_steps": 1})
    made.train()
    file = tmp_path / "checkpoint-1" / "model.safetensors"
    weights = load_file(file)
    assert "cls.predictions.decoder.weight" not in weights
    save_file({name: weight for name, weight in weights.items() if name != lost}, file, {"format": "pt"})
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with caplog.at_level(logging.WARNING, "transformers"):
        made._load_from_checkpoint(str(file.parent))
    told = {record.getMessage() for record in caplog.records if "missing keys" in record.getMessage()}
    assert len(told) == (lost is not None) and all(lost in each for each in told)


def test_labels_beside_the_texts_are_not_read(tmp_path: Path) -> None:
    labels = [row % 2 for row in range(120)]
    labelled = texts_alone(120).add_column("label", labels).cast_column("label", ClassLabel(names=["a", "b"]))
    assert seen(tmp_path, train_dataset=labelled) == seen(tmp_path)


def test_a_stream_is_packed_and_masked_too(tmp_path: Path) -> None:
    made = trainer(tmp_path, train_dataset=texts_alone(120).to_iterable_dataset(), args={"max_steps": 3})
    watch = Seen(made)
    made.train()
    assert len(watch.batches) == 3 and all((batch["label_mask"].sum(1) > 0).all() for batch in watch.batches)


def test_tokens_that_somebody_has_made_need_their_words(tmp_path: Path) -> None:
    tokens = tokenize(texts_alone(30), tiny_tokenizer(), 24, words=True)
    assert seen(tmp_path, train_dataset=tokens)
    with pytest.raises(RequestError, match="without a column 'words'"):
        trainer(tmp_path, train_dataset=tokens.remove_columns("words")).train()


def test_answers_of_the_teacher_are_not_kept_for_they_never_come_twice(tmp_path: Path) -> None:
    made = trainer(tmp_path, cache=CacheSettings(use="always"))
    with pytest.raises(RequestError, match="other masks in every epoch"):
        made.train()


def test_texts_of_which_none_has_a_token_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="none of the 2 texts has a token"):
        trainer(tmp_path, train_dataset=Dataset.from_dict({"text": ["", " "]}))

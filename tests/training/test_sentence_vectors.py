"""A sentence encoder in the trainer: it learns vectors from texts alone, and goes on from a checkpoint whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments

from distilnlp import DistillationTrainer, Objective
from distilnlp.errors import RequestError
from distilnlp.losses import Cosine, HardLabel, get_loss
from distilnlp.models.sentence_encoder import SentenceEncoder
from distilnlp.students import build_student
from distilnlp.teachers import FrozenTeacher
from tests.models.test_sentence_encoder import PLAIN, PROJECTED, tiny_encoder, vectors
from tests.tiny import tiny_tokenizer, toy_dataset

PAIRS = Dataset.from_dict(
    {
        "text": ["the film was great", "a book", "the meal"],
        "text_pair": ["the film was superb", "a dull meal", "it"],
        "label": [5.0, 1.0, 0.5],
    }
)


def texts(n: int = 64) -> Dataset:
    return toy_dataset(n, seed=0).select_columns(["text"])


def make_trainer(
    folder: Path, student: Any, teacher: Any, objective: Objective, **settings: Any
) -> DistillationTrainer:
    callbacks, data = settings.pop("callbacks", []), settings.pop("eval_dataset", None)
    arguments: dict[str, Any] = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 16,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return DistillationTrainer(
        model=student,
        teacher=FrozenTeacher(teacher, tiny_tokenizer()),
        objective=objective,
        args=TrainingArguments(str(folder), **{**arguments, **settings}),
        train_dataset=texts(),
        eval_dataset=data,
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
    )


@pytest.mark.parametrize(
    "objective",
    [
        Objective([(1.0, Cosine())]),
        Objective([(100.0, get_loss("logit_mse"))]),
        Objective(
            [(10.0, get_loss("similarity_preserving", on="logits")), (1.0, get_loss("rkd_distance", on="logits"))]
        ),
        Objective([(1.0, Cosine()), (1.0, get_loss("hidden_state", layer_map="final"))]),
        Objective([(1.0, get_loss("info_nce", on="logits", dimension=None))]),
    ],
    ids=lambda objective: "+".join(term.name for term in objective),
)
def test_a_student_learns_its_teachers_vectors_by_texts_alone(tmp_path: Path, objective: Objective) -> None:
    teacher = tiny_encoder()
    student = build_student(teacher, layers=1, init="random", seed=1)
    trainer = make_trainer(
        tmp_path, student, teacher, objective, learning_rate=5e-3, num_train_epochs=8, logging_steps=1
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


def test_contrast_learns_between_vectors_of_two_widths(tmp_path: Path) -> None:
    teacher, student = tiny_encoder(modules=PROJECTED), tiny_encoder(seed=1)
    objective = Objective([(1.0, get_loss("crd", on="logits", dimension=8, queue=32))])
    assert make_trainer(tmp_path, student, teacher, objective).train().training_loss > 0


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


@pytest.mark.parametrize("modules", [PLAIN, PROJECTED], ids=["pooled", "projected"])
def test_a_training_goes_on_with_the_weights_of_one_without_a_break(tmp_path: Path, modules: Any) -> None:
    teacher, objective = tiny_encoder(modules=modules), Objective([(1.0, Cosine())])
    saving = {"save_strategy": "steps", "save_steps": 3}

    def student() -> SentenceEncoder:
        made = build_student(teacher, layers=1)
        assert isinstance(made, SentenceEncoder)
        return made

    whole, broken, resumed = student(), student(), student()
    make_trainer(tmp_path / "whole", whole, teacher, objective, **saving).train()
    make_trainer(tmp_path / "run", broken, teacher, objective, callbacks=[StopAt(3)], **saving).train()
    make_trainer(tmp_path / "run", resumed, teacher, objective, **saving).train(resume_from_checkpoint=True)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    assert not torch.equal(vectors(broken), vectors(whole))


def test_scored_pairs_are_measured_while_it_learns_and_the_best_is_loaded(tmp_path: Path) -> None:
    teacher = tiny_encoder(modules=PROJECTED)
    student = build_student(teacher, layers=1)
    trainer = make_trainer(
        tmp_path,
        student,
        teacher,
        Objective([(1.0, Cosine())]),
        eval_dataset=PAIRS,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="spearmanr",
    )
    trainer.train()
    scores = trainer.evaluate()
    assert -1 <= scores["eval_spearmanr"] <= 1
    logged = [entry["eval_spearmanr"] for entry in trainer.state.log_history if "eval_spearmanr" in entry]
    assert scores["eval_spearmanr"] == max(logged[:2])


def test_vectors_are_not_learned_from_labels(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no label column"):
        make_trainer(tmp_path, tiny_encoder(), tiny_encoder(), Objective([(1.0, Cosine()), (1.0, HardLabel())]))


def test_what_is_saved_is_a_folder_of_sentence_transformers(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    teacher = tiny_encoder(modules=PROJECTED)
    student = build_student(teacher, layers=1)
    trainer = make_trainer(tmp_path, student, teacher, Objective([(1.0, Cosine())]))
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    student.eval()
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    torch.testing.assert_close(theirs.encode(["a book"], convert_to_tensor=True), vectors(student, ["a book"]))  # type: ignore[arg-type]

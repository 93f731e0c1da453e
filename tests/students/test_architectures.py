"""Copies across architectures: the same function under other names, or a refusal that names both."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.students import build_student
from distilnlp.students.architectures import COPYABLE, HEAD_ACTIVATION
from tests.masked import masked_model
from tests.students.test_build import LABELS, batch, logits, teacher_of

# CamemBERT is RoBERTa under another name and has no tiny model of its own.
KINDS = tuple(kind for kind in COPYABLE if kind != "camembert")
PAIRS = [(teacher, student) for teacher in KINDS for student in KINDS if teacher != student]


@torch.no_grad()
def hidden(model: PreTrainedModel) -> Tensor:
    """The encoder's output at the tokens that are no padding."""
    inputs = batch()
    return model.base_model(**inputs).last_hidden_state[inputs["attention_mask"].bool()]


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_the_encoder_computes_the_same_under_another_name(kind: str, other: str) -> None:
    teacher = teacher_of(kind)
    student = build_student(teacher, architecture=other)
    assert student.config.model_type == other
    assert student.config.id2label == dict(enumerate(LABELS))
    assert student.config.problem_type == "single_label_classification"
    torch.testing.assert_close(hidden(student), hidden(teacher), atol=1e-5, rtol=1e-4)
    if HEAD_ACTIVATION[kind] == HEAD_ACTIVATION[other]:
        torch.testing.assert_close(logits(student), logits(teacher), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_the_head_for_masked_words_is_copied(kind: str, other: str) -> None:
    """Also where nothing but the teacher's class says that it has one."""
    teacher = masked_model(kind)
    teacher.config.problem_type = None
    teacher.config.architectures = [type(teacher).__name__]
    student = build_student(teacher, architecture=other)
    assert student.config.problem_type == "masked_lm"
    real = batch()["attention_mask"].bool()
    torch.testing.assert_close(logits(student)[real], logits(teacher)[real], atol=1e-5, rtol=1e-4)


def test_the_usual_padding_of_roberta_shifts_positions_by_two() -> None:
    """Published RoBERTas have pad_token_id 1: 514 rows for 512 positions."""
    teacher = teacher_of("roberta", pad_token_id=1, max_position_embeddings=66)
    student = build_student(teacher, architecture="bert")
    assert student.config.max_position_embeddings == 64
    inputs = batch()
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 1)
    with torch.no_grad():
        torch.testing.assert_close(student(**inputs).logits, teacher(**inputs).logits, atol=1e-5, rtol=1e-4)
    assert build_student(student, architecture="roberta").config.max_position_embeddings == 66


def test_a_classifier_of_another_function_is_new_and_seeded() -> None:
    teacher = teacher_of("bert")
    one, same, other = (build_student(teacher, architecture="distilbert", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(logits(one), logits(same))
    assert not torch.equal(logits(one), logits(other))


def test_layers_widths_and_architecture_go_together() -> None:
    """The order that must hold: the embeddings are folded and the layers renamed before anything is cut."""
    teacher = teacher_of("bert")
    sizes = {"hidden_size": 16, "intermediate_size": 24}
    student = build_student(teacher, layers=[2, 3], architecture="distilbert", config=sizes)
    assert student.config.distilnlp_kept_layers == [2, 3]
    ours, theirs = student.state_dict(), teacher.state_dict()
    expected = theirs["bert.encoder.layer.2.output.dense.weight"][:16, :24]
    assert torch.equal(ours["distilbert.transformer.layer.1.ffn.lin2.weight"], expected)
    positions, types = (theirs[f"bert.embeddings.{part}_embeddings.weight"] for part in ("position", "token_type"))
    folded = ours["distilbert.embeddings.position_embeddings.weight"]
    assert torch.equal(folded, (positions + types[0])[:, :16])
    assert torch.isfinite(logits(student)).all()


def test_electra_with_a_projection_is_refused() -> None:
    teacher = teacher_of("electra", embedding_size=16)
    with pytest.raises(RequestError, match=r"electra teacher cannot be copied into a bert student.*projected"):
        build_student(teacher, architecture="bert")
    assert torch.equal(logits(build_student(teacher)), logits(teacher))


@pytest.mark.parametrize("kind", ["albert", "deberta-v2", "modernbert"])
def test_layers_that_compute_otherwise_are_refused(kind: str) -> None:
    with pytest.raises(
        RequestError, match=rf"{kind} teacher cannot be copied into a bert student.*leave the architect"
    ):
        build_student(teacher_of(kind, layers=2), architecture="bert")
    with pytest.raises(RequestError, match=f"unknown architecture to copy into '{kind}'"):
        build_student(teacher_of("bert", layers=2), architecture=kind)


def test_a_bare_encoder_gets_a_new_classifier() -> None:
    teacher = teacher_of("bert").base_model
    assert isinstance(teacher, PreTrainedModel)
    student = build_student(teacher, architecture="distilbert")
    torch.testing.assert_close(hidden(student), hidden(teacher), atol=1e-5, rtol=1e-4)
    assert logits(student).shape == (3, len(LABELS))

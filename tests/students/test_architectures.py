"""Copies across architectures: the same function under other names, or a refusal that names both."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.losses import HiddenState
from distilnlp.models.capture import model_info
from distilnlp.models.encoder import layer_stack
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
    if kind != "albert":  # which can be made of others
        with pytest.raises(RequestError, match=f"unknown architecture to copy into '{kind}'"):
            build_student(teacher_of("bert", layers=2), architecture=kind)


def test_a_bare_encoder_gets_a_new_classifier() -> None:
    teacher = teacher_of("bert").base_model
    assert isinstance(teacher, PreTrainedModel)
    student = build_student(teacher, architecture="distilbert")
    torch.testing.assert_close(hidden(student), hidden(teacher), atol=1e-5, rtol=1e-4)
    assert logits(student).shape == (3, len(LABELS))


@pytest.mark.parametrize("kind", KINDS)
def test_an_albert_with_a_group_for_each_layer_computes_the_same(kind: str) -> None:
    """Layers, embeddings, and the head where it is the same function."""
    teacher = teacher_of(kind)
    student = build_student(teacher, layers=[1, 2, 4], architecture="albert")
    assert (student.config.num_hidden_groups, student.config.distilnlp_kept_layers) == (3, [1, 2, 4])
    same = build_student(teacher, layers=[1, 2, 4])
    torch.testing.assert_close(hidden(student), hidden(same), atol=1e-5, rtol=1e-4)
    if HEAD_ACTIVATION[kind] == HEAD_ACTIVATION["albert"]:
        torch.testing.assert_close(logits(student), logits(same), atol=1e-5, rtol=1e-4)


def test_layers_that_share_their_weights_are_stored_once_and_begin_with_the_last_of_each_group() -> None:
    teacher = teacher_of("bert")
    student, alone = (
        build_student(teacher, architecture="albert", config={"num_hidden_groups": groups}) for groups in (2, 4)
    )
    assert (student.config.num_hidden_layers, len(layer_stack(student))) == (4, 2)
    a_layer = sum(parameter.numel() for parameter in teacher.bert.encoder.layer[0].parameters())
    assert alone.num_parameters() - student.num_parameters() == 2 * a_layer
    for group, layer in enumerate((2, 4)):
        found = student.albert.encoder.albert_layer_groups[group].albert_layers[0].ffn.weight
        assert torch.equal(found, teacher.bert.encoder.layer[layer - 1].intermediate.dense.weight)
    # As a BERT in which the layers are these four: 2, 2, 4, 4.
    layers = teacher.bert.encoder.layer
    for own, other in ((0, 1), (2, 3)):
        layers[own].load_state_dict(layers[other].state_dict())
    torch.testing.assert_close(logits(student), logits(teacher), atol=1e-5, rtol=1e-4)


def test_layers_that_share_their_weights_learn_from_a_layer_each() -> None:
    teacher = teacher_of("bert")
    student = build_student(teacher, architecture="albert", config={"num_hidden_groups": 2})
    pairs = HiddenState().resolve(model_info(student), model_info(teacher)).pairs
    assert tuple(pairs) == ((1, 1), (2, 2), (3, 3), (4, 4))


@pytest.mark.parametrize(
    ("groups", "message"), [(0, "whole number from 1"), (5, "1 to 4 groups"), (1.5, "whole number from 1")]
)
def test_groups_that_cannot_be_are_refused(groups: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_student(teacher_of("bert"), architecture="albert", config={"num_hidden_groups": groups})
    with pytest.raises(RequestError, match="use num_hidden_groups"):
        build_student(teacher_of("bert"), architecture="albert", config={"inner_group_num": 2})


@pytest.mark.parametrize("kind", KINDS)
def test_masked_words_are_not_for_an_albert_of_another_kind(kind: str) -> None:
    with pytest.raises(RequestError, match="head for masked words reads"):
        build_student(masked_model(kind), architecture="albert")


def test_an_albert_whose_layers_are_its_own_is_cut_like_any_other() -> None:
    """Such as a student with embeddings of a lower rank that teaches a smaller one."""
    teacher = teacher_of("bert")
    assistant = build_student(teacher, architecture="albert")
    for layers in ([1, 4], [2], [1, 2, 3, 4]):
        small = build_student(assistant, layers=layers)
        torch.testing.assert_close(logits(small), logits(build_student(teacher, layers=layers)), atol=1e-5, rtol=1e-4)
        assert small.config.num_hidden_groups == len(layers)
    inputs = [batch()]
    chosen = [
        build_student(each, layers=2, layer_map="importance", batches=inputs).config.distilnlp_kept_layers
        for each in (teacher, assistant)
    ]
    assert chosen[0] == chosen[1]
    assert (assistant.config.num_hidden_layers, assistant.config.num_hidden_groups) == (4, 4)
    shared = build_student(assistant, config={"num_hidden_groups": 2})
    assert len(layer_stack(shared)) == 2

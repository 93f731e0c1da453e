"""Students with vectors of another width than their states: what is learned, what is copied, what is refused."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.models.sentence_encoder import sentence_modules
from distilnlp.models.sentence_modules import DenseSpec, SentenceModules
from distilnlp.students import build_student
from tests.models.test_sentence_encoder import PLAIN, PROJECTED, tiny_encoder, vectors
from tests.tiny import tiny_model


def test_a_student_of_some_layers_pools_and_projects_as_its_teacher() -> None:
    teacher = tiny_encoder(modules=PROJECTED)
    student = build_student(teacher, layers=1)
    assert sentence_modules(student.config) == PROJECTED
    assert torch.equal(student.dense[0].linear.weight, teacher.dense[0].linear.weight)  # type: ignore[union-attr,index]


def test_a_narrower_student_gets_a_map_to_the_teachers_width() -> None:
    student = build_student(tiny_encoder(), config={"hidden_size": 16})
    assert sentence_modules(student.config).dense == (DenseSpec(16, 32),)
    assert vectors(student).shape == (3, 32)  # type: ignore[arg-type]


def test_the_map_of_a_narrower_student_is_cut_where_the_teacher_has_one() -> None:
    teacher = tiny_encoder(modules=PROJECTED)
    student = build_student(teacher, config={"hidden_size": 16})
    assert sentence_modules(student.config).dense == (DenseSpec(16, 12),)
    assert torch.equal(student.dense[0].linear.weight, teacher.dense[0].linear.weight[:, :16])  # type: ignore[union-attr,index]


def test_the_seed_decides_a_new_map() -> None:
    weights = [
        build_student(tiny_encoder(), config={"hidden_size": 16}, seed=seed).dense[0].linear.weight  # type: ignore[union-attr,index]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_student_of_reduced_vectors_starts_with_the_teachers_map() -> None:
    teacher = tiny_encoder()
    shorter = teacher.reduced(torch.randn(50, 32, generator=torch.Generator().manual_seed(0)), 8)
    student = build_student(shorter, layers=1, dimension=8)
    assert torch.equal(student.dense[0].linear.weight, shorter.dense[0].linear.weight)  # type: ignore[union-attr,index]


@pytest.mark.parametrize(
    ("dimension", "said"),
    [(8, "reduce the teacher's first"), (64, "cannot be compared"), (0, "1 or more")],
)
def test_a_dimension_that_is_not_the_teachers_is_refused(dimension: int, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        build_student(tiny_encoder(modules=PLAIN), dimension=dimension)


def test_a_classifier_has_no_dimension() -> None:
    with pytest.raises(RequestError, match="for sentence encoders"):
        build_student(tiny_model("bert"), layers=1, dimension=8)


def test_layers_go_into_another_architecture_with_pooling_and_map() -> None:
    teacher = tiny_encoder(modules=SentenceModules(("cls",), (DenseSpec(32, 12),)))
    student = build_student(teacher, architecture="distilbert")
    torch.testing.assert_close(vectors(student), vectors(teacher))  # type: ignore[arg-type]

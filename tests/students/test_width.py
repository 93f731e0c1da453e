"""Narrower students: whole heads and leading rows, on every backbone."""

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.students import build_student
from distilnlp.students.width import cut
from tests.students.test_build import logits, teacher_of
from tests.tiny import BACKBONES


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_narrower_student_runs_on_leading_parts(kind: str) -> None:
    teacher = teacher_of(kind)
    student = build_student(teacher, layers=2, config={"hidden_size": 16, "intermediate_size": 24})
    assert (student.config.hidden_size, student.config.num_attention_heads) == (16, 2)
    assert student.config.distilnlp_kept_layers == [2, 4]
    assert torch.isfinite(logits(student)).all()
    assert torch.equal(student.get_input_embeddings().weight, _leading(teacher.get_input_embeddings().weight, student))


def _leading(weight: torch.Tensor, student: torch.nn.Module) -> torch.Tensor:
    return weight[:, : student.get_input_embeddings().weight.shape[1]]  # type: ignore[operator]


def test_heads_are_kept_whole() -> None:
    """16 of 32 dimensions and 2 of 4 heads: the first two heads' rows, from the leading input columns."""
    teacher = teacher_of("bert")
    student = build_student(teacher, config={"hidden_size": 16})
    for part in ("query", "key", "value"):
        name = f"bert.encoder.layer.1.attention.self.{part}.weight"
        heads = teacher.state_dict()[name].view(4, 8, 32)
        assert torch.equal(student.state_dict()[name].view(2, 8, 16), heads[:2, :, :16])
    assert student.state_dict()["bert.encoder.layer.1.intermediate.dense.weight"].shape == (64, 16)


def test_stacked_matrices_are_cut_each_on_its_own() -> None:
    """The leading rows of ModernBERT's joint matrix would be queries only."""
    teacher = teacher_of("modernbert")
    student = build_student(teacher, config={"hidden_size": 16, "intermediate_size": 24})
    wide = teacher.state_dict()["model.layers.1.attn.Wqkv.weight"]
    queries, keys, values = wide.chunk(3)
    expected = torch.cat([part[:16, :16] for part in (queries, keys, values)])
    assert torch.equal(student.state_dict()["model.layers.1.attn.Wqkv.weight"], expected)
    entry, gate = teacher.state_dict()["model.layers.1.mlp.Wi.weight"].chunk(2)
    expected = torch.cat([entry[:24, :16], gate[:24, :16]])
    assert torch.equal(student.state_dict()["model.layers.1.mlp.Wi.weight"], expected)


def test_sizes_that_cannot_be_cut_are_refused() -> None:
    teacher = teacher_of("bert")
    with pytest.raises(RequestError, match="use a multiple of 8"):
        build_student(teacher, config={"hidden_size": 20})
    with pytest.raises(RequestError, match="whole number"):
        build_student(teacher, config={"hidden_size": 0})
    with pytest.raises(RequestError, match="cannot be larger"):
        build_student(teacher, config={"hidden_size": 64})
    with pytest.raises(RequestError, match=r"heads of size 4 cannot be copied.*heads of size 8"):
        build_student(teacher, config={"hidden_size": 16, "num_attention_heads": 4})
    random = build_student(teacher, config={"hidden_size": 60, "num_attention_heads": 6}, init="random")
    assert torch.isfinite(logits(random)).all()


def test_cut_names_what_is_too_large() -> None:
    with pytest.raises(RequestError, match=r"pooler is \[3, 2\] and the teacher's \[2, 2\]"):
        cut("pooler", torch.zeros(2, 2), (3, 2))
    with pytest.raises(RequestError, match="cannot be larger"):
        cut("pooler", torch.zeros(2), (2, 2))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("intermediate_size", 0, "intermediate_size is 0: a whole number from 1"),
        ("intermediate_size", 1.5, r"intermediate_size is 1\.5: a whole number from 1"),
        ("num_attention_heads", True, "num_attention_heads is True: a whole number from 1"),
        ("hidden_dropout_prob", "none", "'hidden_dropout_prob' cannot be 'none'"),
    ],
)
def test_a_size_that_is_none_is_told_in_one_line(field: str, value: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_student(teacher_of("bert"), config={field: value})

"""Embeddings of a lower rank: nothing is lost at full rank, as little as may be below it, in a plain model."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.encoder import embeddings
from distilnlp.students import build_student
from distilnlp.students.low_rank import embedding_rank
from tests.masked import masked_model
from tests.students.test_build import batch, logits, teacher_of
from tests.tiny import tiny_model

# Of each kind: the architecture that a student of a lower rank has.
LOW = [
    ("bert", "albert"), ("roberta", "albert"), ("xlm-roberta", "albert"), ("distilbert", "albert"),
    ("electra", "albert"), ("electra", "electra"), ("bert", "electra"), ("albert", "albert"),
    ("deberta-v2", "deberta-v2"),
]  # fmt: skip


@torch.no_grad()
def entering(model: PreTrainedModel) -> Tensor:
    """What enters the first layer, of the tokens that are no padding: embeddings, norm and map."""
    inputs, base = batch(), model.base_model
    if model.config.model_type.startswith("deberta"):
        hidden = base.embeddings(**{name: inputs[name] for name in ("input_ids",)})
    else:
        hidden = embeddings(model)(inputs["input_ids"])
    mapped = {"albert": "encoder.embedding_hidden_mapping_in", "electra": "embeddings_project"}
    name = mapped.get(model.config.model_type, "")
    if name in dict(base.named_modules()) and name:
        hidden = base.get_submodule(name)(hidden)
    return hidden[inputs["attention_mask"].bool()]


def low_rank(teacher: PreTrainedModel, kind: str, size: int) -> PreTrainedModel:
    return build_student(teacher, architecture=kind, config={"embedding_size": size}, batches=[batch()])


@pytest.mark.parametrize(("kind", "other"), LOW)
def test_a_full_rank_loses_nothing(kind: str, other: str) -> None:
    """Rows without their mean have one dimension less than columns, where the norm comes behind the map."""
    teacher = teacher_of(kind)
    size = 16 if kind == "albert" else 31 if kind == "deberta-v2" else 32
    student = low_rank(teacher, other, size)
    torch.testing.assert_close(entering(student), entering(teacher), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "other"), LOW)
def test_a_lower_rank_loses_more_and_more(kind: str, other: str) -> None:
    teacher, lost = teacher_of(kind), []
    for size in (14, 10, 6):
        student = low_rank(teacher, other, size)
        assert student.get_input_embeddings().weight.shape[1] == student.config.embedding_size == size
        lost.append(float((entering(student) - entering(teacher)).square().mean()))
    assert lost == sorted(lost)
    assert lost[0] > 1e-6


@pytest.mark.parametrize(("kind", "other"), LOW)
def test_what_has_a_low_rank_already_loses_nothing(kind: str, other: str) -> None:
    """Tables whose centred rows lie in 5 dimensions are told by 6 columns, and by 5 where no norm centres them."""
    teacher = teacher_of(kind)
    with torch.no_grad():
        parts = [each.weight for each in embeddings(teacher).modules() if isinstance(each, torch.nn.Embedding)]
        directions = torch.randn(5, parts[0].shape[1], generator=torch.Generator().manual_seed(0))
        for weight in parts:
            weight.copy_(torch.randn(len(weight), 5, generator=torch.Generator().manual_seed(1)) @ directions)
    student = low_rank(teacher, other, 5 if kind == "deberta-v2" else 6)
    torch.testing.assert_close(entering(student), entering(teacher), atol=1e-4, rtol=1e-4)


def test_no_other_directions_are_better() -> None:
    """Eckart and Young: the error of DeBERTa's tables is the energy of the directions that are left out."""
    teacher = teacher_of("deberta-v2")
    table = teacher.get_input_embeddings().weight.detach()
    centred = table - table.mean(1, keepdim=True)
    student = build_student(teacher, config={"embedding_size": 12}, batches=[])
    made = student.get_input_embeddings().weight @ student.deberta.embeddings.embed_proj.weight.T
    tail = torch.linalg.svdvals(centred)[12:].square().sum()
    torch.testing.assert_close((made - centred).square().sum(), tail, rtol=1e-4, atol=1e-5)


def test_tokens_that_occur_keep_more() -> None:
    teacher = teacher_of("bert")
    for_texts = low_rank(teacher, "albert", 12)
    for_all = build_student(teacher, architecture="albert", config={"embedding_size": 12}, batches=[])
    lost = [float((entering(student) - entering(teacher)).square().mean()) for student in (for_texts, for_all)]
    assert lost[0] < 0.7 * lost[1]


def test_a_lower_rank_goes_with_narrower_layers_that_are_chosen() -> None:
    """The rank is of the tables alone: they are the same whatever the width of the layers."""
    teacher = teacher_of("bert")
    sizes = {"embedding_size": 12, "hidden_size": 16, "intermediate_size": 32}
    narrow = build_student(teacher, architecture="albert", config=sizes, choose="importance", batches=[batch()])
    wide = low_rank(teacher, "albert", 12)
    assert torch.equal(narrow.get_input_embeddings().weight, wide.get_input_embeddings().weight)
    assert narrow.albert.encoder.embedding_hidden_mapping_in.weight.shape == (16, 12)


@pytest.mark.parametrize(("kind", "other"), [("bert", "albert"), ("electra", "electra"), ("deberta-v2", "deberta-v2")])
def test_the_student_is_a_plain_model_that_is_loaded_again(kind: str, other: str, tmp_path: Path) -> None:
    teacher = teacher_of(kind)
    student = low_rank(teacher, other, 8)
    student.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded), logits(student))
    assert type(loaded).__module__.startswith("transformers.models")
    words = len(teacher.get_input_embeddings().weight)
    saved = teacher.get_input_embeddings().weight.numel() - loaded.get_input_embeddings().weight.numel()
    assert saved == words * (32 - 8)
    # And is a teacher like any other.
    assert torch.equal(logits(build_student(loaded)), logits(student))


def test_the_rank_for_a_share_of_the_energy() -> None:
    teacher = teacher_of("bert")
    ranks = [embedding_rank(teacher, energy, [batch()]) for energy in (0.5, 0.9, 0.99, 1.0)]
    assert ranks == sorted(ranks)
    assert 2 <= ranks[0] < ranks[1] < ranks[3] <= 32
    assert ranks[1] < embedding_rank(teacher, 0.9)  # all tokens alike: more directions
    with torch.no_grad():  # one direction in all: a column for it, and one for the mean
        for module in embeddings(teacher).modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.copy_(torch.arange(len(module.weight))[:, None] * torch.arange(32.0))
    assert embedding_rank(teacher, 1.0) == 2
    for energy in (0.0, 1.1):
        with pytest.raises(RequestError, match="above 0 and at most 1"):
            embedding_rank(teacher, energy)
    with pytest.raises(RequestError, match="embeddings of modernbert are no tables"):
        embedding_rank(tiny_model("modernbert"), 0.5)


def test_what_has_no_such_form_is_refused() -> None:
    with pytest.raises(RequestError, match="set architecture to albert"):
        build_student(teacher_of("bert"), config={"embedding_size": 16}, batches=[batch()])
    with pytest.raises(RequestError, match="embeddings of a modernbert student are as wide as its layers"):
        build_student(teacher_of("modernbert"), config={"embedding_size": 16}, batches=[batch()])
    for size, message in (
        (33, "give 2 to 32"),
        (1, "give 2 to 32"),
        (0, "from 1 is needed"),
        (True, "from 1 is needed"),
    ):
        with pytest.raises(RequestError, match=message):
            low_rank(teacher_of("bert"), "albert", size)
    with pytest.raises(RequestError, match=r"made for the tokens of texts: give batches"):
        build_student(teacher_of("bert"), architecture="albert", config={"embedding_size": 16})
    for kind in ("bert", "electra"):
        with pytest.raises(RequestError, match="head for masked words reads the embeddings' tables"):
            low_rank(masked_model(kind), "albert" if kind == "bert" else kind, 16)

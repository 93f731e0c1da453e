"""The head of a model that is loaded for named labels is theirs, in their order, or new."""

from pathlib import Path

import pytest
import torch

from distilnlp import build_student
from distilnlp.errors import RequestError
from distilnlp.models import align_labels
from distilnlp.models.labels import keep_label_rows
from distilnlp.models.loading import load_classifier
from tests.tiny import BACKBONES, tiny_model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[2, 30, 31, 3]]), attention_mask=torch.ones(1, 4)).logits[0]


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_rows_of_a_head_follow_the_names(tmp_path: Path, kind: str) -> None:
    model = tiny_model(kind, label_names=["Positive", "NEGATIVE", "not sure"])
    model.save_pretrained(tmp_path)
    loaded = load_classifier(tmp_path, label_names=["negative", "not_sure", "positive"])
    assert torch.equal(logits(loaded), logits(model)[[1, 2, 0]])
    assert loaded.config.id2label == {0: "negative", 1: "not_sure", 2: "positive"}


def test_names_that_differ_by_a_sign_or_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    for own, wanted in ((["-1", "0", "1"], ["1", "0", "-1"]), (["Positive", "POSITIVE"], ["POSITIVE", "Positive"])):
        model = tiny_model("bert", label_names=own)
        model.save_pretrained(tmp_path)
        order = [own.index(name) for name in wanted]
        assert torch.equal(logits(load_classifier(tmp_path, label_names=wanted)), logits(model)[order])


def test_a_head_for_as_many_other_labels_is_made_new_by_the_seed(tmp_path: Path) -> None:
    model = tiny_model("bert", label_names=["spam", "ham"])
    model.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    first, again, other = (load_classifier(tmp_path, label_names=["good", "bad"], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert not torch.equal(first.classifier.weight, model.classifier.weight)
    assert torch.equal(first.bert.pooler.dense.weight, model.bert.pooler.dense.weight)


def test_a_head_without_names_stays(tmp_path: Path) -> None:
    model = tiny_model("bert", num_labels=2)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(load_classifier(tmp_path, label_names=["good", "bad"])), logits(model))


def test_labels_that_are_aligned_take_the_datas_spelling() -> None:
    model = align_labels(tiny_model("bert", label_names=["Positive", "Negative"]), ["positive", "negative"])
    assert model.config.label2id == {"positive": 0, "negative": 1}


def test_a_student_by_name_counts_the_labels_as_its_teacher(tmp_path: Path) -> None:
    given = tiny_model("bert", label_names=["Good", "Bad"])
    given.save_pretrained(tmp_path)
    student = build_student(tiny_model("bert", label_names=["bad", "good"]), student=tmp_path)
    assert torch.equal(logits(student), logits(given)[[1, 0]])
    without = build_student(tiny_model("bert", num_labels=2), student=tmp_path)
    assert torch.equal(logits(without), logits(given))


def test_a_student_as_a_model_is_refused_where_it_counts_otherwise() -> None:
    teacher = tiny_model("bert", label_names=["bad", "good"])
    spelt = tiny_model("bert", label_names=["Bad", "Good"])
    assert build_student(teacher, student=spelt) is spelt
    with pytest.raises(RequestError, match="align_labels"):
        build_student(teacher, student=tiny_model("bert", label_names=["good", "bad"]))


@pytest.mark.parametrize("kind", BACKBONES)
def test_labels_that_were_there_keep_their_rows_when_others_come(kind: str) -> None:
    old = tiny_model(kind, label_names=["yes", "no"])
    grown = tiny_model(kind, label_names=["No", "maybe", "Yes"])
    grown.base_model.load_state_dict(old.base_model.state_dict())
    for name, weight in old.state_dict().items():  # a head of several layers has the others as they were
        if weight.shape == grown.state_dict()[name].shape:
            grown.state_dict()[name].copy_(weight)
    keep_label_rows(grown, old)
    torch.testing.assert_close(logits(grown)[[2, 0]], logits(old))


def test_a_label_that_is_gone_cannot_be_kept() -> None:
    old, other = (tiny_model("bert", label_names=["yes", name]) for name in ("no", "maybe"))
    with pytest.raises(RequestError, match="the label 'no' is not among"):
        keep_label_rows(other, old)

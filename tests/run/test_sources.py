"""Models from outside of a run are loaded once, and none that has no head of its own teaches."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from datasets import Dataset

from distilnlp.data import Task, load_task
from distilnlp.errors import RequestError
from distilnlp.models import loading
from distilnlp.problems import get_problem
from distilnlp.run import sources
from distilnlp.run.sources import Sources, start_for
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def task(tmp_path: Path) -> Task:
    rows = "".join(f"text {i},{'no' if i % 2 else 'yes'}\n" for i in range(60))
    (tmp_path / "films.csv").write_text(f"text,label\n{rows}")
    return load_task(str(tmp_path / "films.csv"))


def saved(folder: Path, *, head: bool) -> str:
    """A model whose config names the task's labels, with its head or without."""
    model = tiny_model("bert", label_names=["no", "yes"])
    (model if head else model.base_model).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def test_a_model_that_starts_and_teaches_is_read_once(tmp_path: Path, task: Task) -> None:
    found, name = Sources({}), saved(tmp_path / "whole", head=True)
    with mock.patch.object(sources, "load_model", wraps=loading.load_model) as load:
        assert found.start(name, task, 42) is found.teacher(name, task) is found.start(name, task, 0)
    assert load.call_count == 1


@pytest.mark.parametrize("seed", [0, 42])
def test_a_head_that_was_made_for_a_start_never_teaches(tmp_path: Path, task: Task, seed: int) -> None:
    """Its config names the labels, so nothing but the weights shows that the head is missing."""
    found, name = Sources({}), saved(tmp_path / "headless", head=False)
    found.start(name, task, seed)
    with pytest.raises(RequestError, match="has no classification head of its own"):
        found.teacher(name, task)


def test_after_its_last_use_a_model_is_let_go(tmp_path: Path, task: Task) -> None:
    name = saved(tmp_path / "whole", head=True)
    found = Sources({name: 2})
    first = found.start(name, task, 42)
    found.used(name)
    assert found.teacher(name, task) is first
    found.used(name)
    assert found.teacher(name, task) is not first


def test_a_new_head_of_several_labels_starts_at_their_shares(tmp_path):
    """From 0.5 for each label, the first hundreds of steps would teach the body to answer every text alike."""
    tiny_model("bert", num_labels=2).save_pretrained(tmp_path / "start")
    held = [[1.0, 0.0, 0.0]] * 6 + [[0.0, 1.0, 0.0]] * 2
    several = get_problem("multi_label_classification")
    train = Dataset.from_dict({"text": ["a"] * 8, "label": held})
    task = Task("mail", train, None, ("a", "b", "c"), several, several.metrics, several.main_metric, "mail")
    model = start_for(tmp_path / "start", task, seed=0)
    assert model.classifier.bias.sigmoid().tolist() == pytest.approx([0.7, 0.3, 0.1])
    with torch.no_grad():
        model.classifier.bias.fill_(2.0)
    model.save_pretrained(tmp_path / "trained")
    kept = start_for(tmp_path / "trained", task, seed=0)
    assert kept.classifier.bias.tolist() == [2.0, 2.0, 2.0], "a head that was trained is left as it is"


def test_stages_on_other_data_start_from_other_shares(tmp_path):
    """Else the second stage would begin with the first one's, but not when it is resumed after a break."""
    tiny_model("bert", num_labels=3).save_pretrained(tmp_path / "start")
    several = get_problem("multi_label_classification")
    found = []
    made = Sources({str(tmp_path / "start"): 2})
    for rows in ([[1.0, 0.0]] * 4, [[0.0, 1.0]] * 4):
        train = Dataset.from_dict({"text": ["a"] * 4, "label": rows})
        task = Task("mail", train, None, ("a", "b"), several, several.metrics, several.main_metric, "mail")
        found.append(made.start(str(tmp_path / "start"), task, 0).classifier.bias.tolist())
    assert found[0] == found[1][::-1] != found[1]


def test_an_encoder_is_pooled_as_the_recipe_says_wherever_it_stands(tmp_path: Path) -> None:
    vectors = get_problem("sentence_embedding")
    task = Task("texts", None, None, None, vectors, vectors.metrics, vectors.main_metric, "texts")
    name = saved(tmp_path / "bare", head=False)
    found = Sources({}, {name: "cls"})
    assert found.start(name, task, 42).config.sentence_modules["pooling"] == ["cls"]
    assert found.teacher(name, task).config.sentence_modules["pooling"] == ["cls"]
    with pytest.raises(RequestError, match="pooling: mean"):
        Sources({}).teacher(name, task)

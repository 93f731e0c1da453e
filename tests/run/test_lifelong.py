"""Tasks one after the other with labels that grow: what is kept, what is forgotten, what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distilnlp.data import load_task
from distilnlp.data.grow import grow_labels
from distilnlp.errors import RequestError
from distilnlp.models.loading import load_classifier
from distilnlp.recipe import make_recipe
from distilnlp.report.schema import read_report
from distilnlp.run import run_recipe
from distilnlp.run.evaluation import answer_of
from distilnlp.training.trainer import DistillationTrainer
from tests.run.conftest import TRAINING
from tests.tiny import CLASS_WORDS

LWF = {"hard_label": {"weight": 1.0}, "lwf": {"weight": 1.0}}
SHORT = {**TRAINING, "save_strategy": "no"}


@pytest.fixture
def colours(tmp_path: Path) -> str:
    """A second task: labels that the first has not, and one that it has, written otherwise."""
    path = tmp_path / "colours.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = []
        for row in range(60):
            words, number = CLASS_WORDS[row % 2], row // 2
            label = ("red", "blue", "Bad")[(row + number % 5) % 3]
            thing = ("book", "film")[number // 25]
            rows.append((f"the {thing} was {words[number % 5]}, very {words[number // 5 % 5]}", label))
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


@pytest.fixture
def tasks(values: dict[str, Any], colours: str) -> dict[str, Any]:
    second = {"model": "first", "data": {"task": colours}, "labels": "grow", "training": SHORT}
    stages = {
        "first": {**values["stages"]["teacher"], "training": SHORT},
        "forgetful": second,
        "second": {**second, "teacher": "first", "objective": LWF},
    }
    return {**values, "stages": stages}


@pytest.mark.slow
def test_a_later_model_keeps_the_rows_of_the_old_labels_and_is_measured_on_them(
    tasks, tmp_path, monkeypatch, csv_file
):
    starts = {}
    train = DistillationTrainer.train

    def noting(self, *args, **kwargs):
        starts[Path(self.args.output_dir).name] = {k: v.clone() for k, v in self.student.state_dict().items()}
        return train(self, *args, **kwargs)

    monkeypatch.setattr(DistillationTrainer, "train", noting)
    said: list[str] = []
    run_recipe(make_recipe(tasks, name="lifelong"), tmp_path / "run", say=said.append)
    first = load_file(tmp_path / "run" / "first" / "model.safetensors")
    second = load_classifier(tmp_path / "run" / "second", require_head=True)
    assert list(second.config.id2label.values()) == ["bad", "good", "blue", "red"]
    assert torch.equal(starts["second"]["classifier.weight"][:2], first["classifier.weight"])
    assert torch.equal(starts["second"]["classifier.bias"][:2], first["classifier.bias"])
    assert bool(starts["second"]["classifier.weight"][2:].any())

    rows = {row.stage: row for row in read_report(tmp_path / "run" / "report.json").stages}
    assert (rows["forgetful"].role, rows["second"].role) == ("control", "student")
    assert rows["first"].retained == {}
    earlier = grow_labels(load_task(csv_file), tuple(second.config.id2label.values()))
    expected = answer_of(str(tmp_path / "run" / "second"), earlier, max_length=16).metrics["accuracy"]
    assert rows["second"].retained["first"].score == expected
    assert rows["second"].retained["first"].was == rows["first"].score
    assert "first" in rows["forgetful"].retained
    assert any("second (student): accuracy" in line and "held-out examples of first" in line for line in said[-4:])
    assert "held-out examples of first" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.slow
def test_the_first_step_of_a_new_task_takes_nothing_from_the_old_answers(tasks, tmp_path, monkeypatch):
    """Without dropout the student answers for the old labels as its teacher, which is what it starts from."""
    tasks["stages"]["second"]["training"] = {**SHORT, "logging_steps": 1, "max_steps": 2, "learning_rate": 0.1}
    logs: list[dict[str, float]] = []
    log = DistillationTrainer.log

    def noting(self, values, *args, **kwargs):
        log(self, values, *args, **kwargs)
        logs.append(dict(values))

    train = DistillationTrainer.train

    def without_dropout(self, *args, **kwargs):
        for module in self.student.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            elif hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0
        self.student.config.attention_probs_dropout_prob = 0.0
        return train(self, *args, **kwargs)

    monkeypatch.setattr(DistillationTrainer, "train", without_dropout)
    recipe = make_recipe(tasks, name="lifelong")
    run_recipe(recipe, tmp_path / "run", stages="first..forgetful")
    monkeypatch.setattr(DistillationTrainer, "log", noting)
    run_recipe(recipe, tmp_path / "run")
    key = next(key for key in logs[0] if "lwf" in key)
    terms = [each[key] for each in logs if key in each]
    assert terms[-2] == pytest.approx(0, abs=1e-6)
    assert terms[-1] > 1e-4


@pytest.mark.parametrize("teacher", ["first", "forgetful"])
def test_a_student_that_does_not_have_the_old_labels_is_refused(tasks, tmp_path, teacher):
    """Its own labels are other ones, fewer than the teacher's or as many."""
    tasks["stages"]["second"] = {**tasks["stages"]["second"], "teacher": teacher}
    del tasks["stages"]["second"]["labels"]
    with pytest.raises(RequestError, match=r"'labels: grow'|the labels of the data are"):
        run_recipe(make_recipe(tasks, name="lifelong"), tmp_path / "run")
    assert not (tmp_path / "run" / "first").exists()


def test_ids_that_mean_other_labels_in_the_same_data_are_refused(tasks, tmp_path):
    path = tmp_path / "ids.csv"
    path.write_text("text,label\n" + "".join(f"text number {row},{row % 2}\n" for row in range(60)))
    tasks["stages"]["first"]["data"] = {"task": str(path), "label_names": ["a", "b"]}
    for name in ("forgetful", "second"):
        tasks["stages"][name]["data"] = {"task": str(path), "label_names": ["b", "a"]}
    with pytest.raises(RequestError, match="has one name in first and another here"):
        run_recipe(make_recipe(tasks, name="lifelong"), tmp_path / "run")


def test_labels_that_are_numbers_do_not_grow(tasks, tmp_path):
    path = tmp_path / "ids.csv"
    path.write_text("text,label\n" + "".join(f"text number {row},{row % 3}\n" for row in range(60)))
    for name in ("forgetful", "second"):
        tasks["stages"][name]["data"] = {"task": str(path)}
    with pytest.raises(RequestError, match="are numbers, which may mean something else"):
        run_recipe(make_recipe(tasks, name="lifelong"), tmp_path / "run")


def tagged(path: Path, kinds: dict[str, int]) -> str:
    """Sentences of tagged words: those of some classes are entities of a kind, all others are none."""
    lines = []
    for row in range(60):
        entities = [(kind, CLASS_WORDS[place][row % 5]) for kind, place in kinds.items()]
        words = [("the", "O"), ("film", "O"), ("was", "O"), *((word, f"B-{kind}") for kind, word in entities)]
        words = words[row % 3 :] + words[: row % 3] + [("very", "O")] * (row % 7)
        tokens, tags = zip(*words, strict=True)
        lines.append(json.dumps({"tokens": tokens, "tags": tags}))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def tags(tmp_path: Path, start_weights: str) -> dict[str, Any]:
    """Praise and blame, and in a later task colours besides; that one says its tags in another order."""
    first = tagged(tmp_path / "first.jsonl", {"praise": 0, "blame": 1})
    second = tagged(tmp_path / "second.jsonl", {"colour": 2, "blame": 1})
    later = {"model": "first", "data": {"task": second}, "labels": "grow", "training": SHORT}
    stages = {
        "first": {"model": start_weights, "training": SHORT},
        "second": {**later, "teacher": "first", "objective": LWF},
    }
    return {"data": {"task": first, "max_length": 24}, "precision": "fp32", "accept_weak_teacher": True} | {
        "stages": stages
    }


@pytest.mark.slow
def test_tags_of_words_grow_too(tags, tmp_path):
    run_recipe(make_recipe(tags, name="lifelong"), tmp_path / "run", say=lambda line: None)
    first = load_classifier(tmp_path / "run" / "first", require_head=True)
    second = load_classifier(tmp_path / "run" / "second", require_head=True)
    old, new = (list(model.config.id2label.values()) for model in (first, second))
    assert sorted(old) == ["B-blame", "B-praise", "O"] and new == [*old, "B-colour"]
    rows = {row.stage: row for row in read_report(tmp_path / "run" / "report.json").stages}
    earlier = grow_labels(load_task(tags["data"]["task"]), new)
    expected = answer_of(str(tmp_path / "run" / "second"), earlier, max_length=24).metrics
    kept = rows["second"].retained["first"]
    assert kept.score == expected[earlier.main_metric] and kept.was == rows["first"].score
    assert rows["second"].task == "second" and rows["second"].score is not None


def test_a_tag_of_words_stands_for_the_same_words_after_it_has_grown(tags):
    task = load_task(tags["stages"]["second"]["data"]["task"])
    grown = grow_labels(task, ["B-praise", "O", "B-blame"])
    assert grown.label_names == ("B-praise", "O", "B-blame", "B-colour")
    for was, now in zip(task.train["label"], grown.train["label"], strict=True):
        assert [task.label_names[tag] for tag in was] == [grown.label_names[tag] for tag in now]


def test_tags_do_not_grow_from_classes_of_texts(tags, tasks, tmp_path):
    tags["stages"]["first"] = tasks["stages"]["first"] | {"data": {"task": tasks["data"]["task"]}}
    with pytest.raises(RequestError) as caught:
        run_recipe(make_recipe(tags, name="lifelong"), tmp_path / "run", say=lambda line: None)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "run").glob("*/model.safetensors"))

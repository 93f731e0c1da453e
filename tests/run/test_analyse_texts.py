"""How a run's last student and its teacher lay texts out, and by which tokens they answer."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.models.loading import load_classifier, load_tokenizer
from distilnlp.recipe import make_recipe
from distilnlp.run import run_recipe
from distilnlp.run.analyse import analyse_runs
from distilnlp.run.analyse_texts import _Read
from distilnlp.run.likeness import Pair
from tests.run.conftest import recipe_values
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

TEXTS = [("the film was good",), ("the book was bad and very quite dull of it",)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, start_weights: str, csv_file: str) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "films"
    run_recipe(make_recipe(recipe_values(start_weights, csv_file), name="films"), folder)
    return folder


def test_both_are_told_of_the_last_student_and_its_teacher(finished: Path) -> None:
    geometry, attribution = analyse_runs([finished], ["geometry", "attribution"])
    assert [row[0] for row in geometry.rows] == ["student", "teacher"]
    for _, tenth, median, most, share in geometry.rows:
        assert 0 <= tenth <= median <= most <= 180 and 0 <= share <= 1  # type: ignore[operator]
    assert all(0 <= value <= 1 for row in attribution.rows for value in row)  # type: ignore[operator]
    assert "12 held-out texts" in attribution.notes[0]


def test_a_student_that_is_its_teacher_answers_by_the_same_tokens(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "films")
    for file in ("model.safetensors", "config.json"):
        shutil.copy(folder / "teacher" / file, folder / "student" / file)
    geometry, attribution = analyse_runs([folder], ["geometry", "attribution"])
    assert [row[1] for row in attribution.rows] == [1.0] * 3
    assert geometry.rows[0][1:] == geometry.rows[1][1:]


@pytest.mark.parametrize("kind", BACKBONES)
def test_logits_follow_from_features_and_weights_and_slopes_from_the_embeddings(kind: str, tmp_path: Path) -> None:
    tiny_model(kind, num_labels=3).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    read = _Read.of(str(tmp_path), Pair(("a", "b"), (str(tmp_path),) * 2, TEXTS), None)
    model = load_classifier(tmp_path).eval()
    batch = load_tokenizer(str(tmp_path))([text for (text,) in TEXTS], padding=True, return_tensors="pt")
    embedded = model.get_input_embeddings()(batch.pop("input_ids")).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, **batch).logits
    assert read.logits == pytest.approx(logits.detach().double().numpy(), abs=1e-5)
    (slopes,) = torch.autograd.grad(logits.amax(dim=1).sum(), embedded)
    sizes = (slopes * embedded).sum(dim=-1)[batch["attention_mask"].bool()]
    assert np.abs(sizes.detach().numpy()).max() > 0
    assert np.concatenate(read.counts) == pytest.approx(sizes.detach().double().numpy(), abs=1e-6)
    assert read.features is not None and read.weights is not None
    moved = read.logits - read.features @ read.weights.T  # the bias, which is the same for all texts
    assert moved == pytest.approx(np.broadcast_to(moved[:1], moved.shape), abs=1e-5)
    assert [len(each) for each in read.counts] == [len(each) for each in read.tokens] == [6, 12]


def test_other_kinds_of_task_are_refused_by_name(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "films")
    report = (folder / "report.json").read_text()
    (folder / "report.json").write_text(report.replace("single_label_classification", "regression"))
    with pytest.raises(RequestError, match="this looks at classes of texts, and student answers otherwise"):
        analyse_runs([folder], ["geometry"])

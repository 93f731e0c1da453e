"""Exits beside a model: when a text leaves, that it is computed no further, and what of a folder is refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from distilnlp.errors import RequestError
from distilnlp.models import Predictor
from distilnlp.models.encoder import called_layers
from distilnlp.models.exits import EXITS_FILE, Exiting, Exits, own_pooling, read_exits, uncertainty, write_exits
from distilnlp.models.labels import align_labels
from distilnlp.models.loading import load_classifier
from distilnlp.problems import get_problem
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

NAMES = ("bad", "good", "mixed")
CLASSES = get_problem("single_label_classification")
LABELS = get_problem("multi_label_classification")
TEXTS = ["the good film", "a very dull book and a meal", "it", "we saw that poor film in the red", "one lovely two"]


def exits_of(model, layers=(1, 2, 3), seed=0) -> Exits:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Exits(layers, model.config.hidden_size, model.config.num_labels, own_pooling(model))
        for head in made.heads.values():
            head[2].weight.data.normal_(0, 2)  # so that some answers are certain and others not
    return made.requires_grad_(False).eval()


def saved(folder: Path, kind: str = "bert", **settings) -> Path:
    model = tiny_model(kind, layers=4, **{"label_names": NAMES, "num_labels": 3, **settings})
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    write_exits(folder, exits_of(model))
    return folder


def batch_of(model) -> dict[str, torch.Tensor]:
    batch = tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def test_the_uncertainty_of_two_classes_is_their_entropy_in_bits() -> None:
    assert float(uncertainty(torch.tensor([[0.9, 0.1]]).log(), CLASSES)[0]) == pytest.approx(0.468996, abs=1e-6)
    assert uncertainty(torch.zeros(1, 5), CLASSES)[0] == pytest.approx(1)
    assert uncertainty(torch.tensor([[1e4, 0.0]]), CLASSES)[0] == 0


def test_of_several_labels_the_least_certain_counts() -> None:
    logit = torch.tensor(0.9).logit()
    found = uncertainty(torch.stack([torch.tensor([50.0, -50.0]), torch.tensor([50.0, logit])]), LABELS)
    assert found.tolist() == pytest.approx([0, 0.468996], abs=1e-6)


def test_the_mean_is_over_real_tokens() -> None:
    exits = Exits((1,), 4, 2, "mean")
    hidden, mask = torch.randn(1, 3, 4), torch.ones(1, 3)
    padded = torch.cat([hidden, torch.full((1, 2, 4), torch.inf)], dim=1)
    assert torch.equal(exits(1, padded, torch.tensor([[1, 1, 1, 0, 0]])), exits(1, hidden, mask))
    torch.testing.assert_close(exits(1, hidden, None), exits.heads["1"](hidden.mean(dim=1)))


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_text_has_the_answer_of_its_exit_whatever_the_others_do(kind: str) -> None:
    """In a batch that gets smaller, as if each text had run alone through all layers."""
    model = tiny_model(kind, layers=4, label_names=NAMES)
    exits, batch, hidden = exits_of(model), batch_of(model), []
    handles = [
        layer.register_forward_hook(lambda m, a, out: hidden.append(out[0] if isinstance(out, tuple) else out))
        for layer in dict.fromkeys(called_layers(model))
    ]
    with torch.no_grad():
        full = model(**batch).logits
    for handle in handles:
        handle.remove()
    answers = [exits(layer, hidden[layer - 1], batch["attention_mask"]) for layer in (1, 2, 3)]
    unsure = torch.stack([uncertainty(each, CLASSES) for each in answers])  # (exits, texts)
    threshold = float(unsure[0].sort().values[1:3].mean())  # two of the five leave first
    expected, depth = full.clone(), torch.full((len(TEXTS),), 4)
    for layer in (3, 2, 1):
        leaves = unsure[layer - 1] < threshold
        expected[leaves], depth[leaves] = answers[layer - 1][leaves], layer
    assert len(set(depth.tolist())) > 1
    backend = Exiting(model, exits, threshold)
    with backend.evaluating():
        found = backend(batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert sorted(backend.depths.elements()) == sorted(depth.tolist())


def test_the_ends_are_the_full_model_and_the_first_exit(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    full, never = Predictor.load(folder), Predictor.load(folder, exit_threshold=0.0)
    assert (full.logits(TEXTS) == never.logits(TEXTS)).all()
    assert dict(never.backend.depths) == {4: 5}
    first = Predictor.load(folder, exit_threshold=1.0)
    first.backend.exits.heads["1"][2].weight.data.zero_()
    first.backend.exits.heads["1"][2].bias.data.zero_()  # an answer that is entirely open leaves too
    assert not first.logits(TEXTS).any()
    assert dict(first.backend.depths) == {1: 5}


def test_what_has_left_is_not_computed(tmp_path: Path) -> None:
    predictor = Predictor.load(saved(tmp_path), exit_threshold=0.5)
    rows: list[int] = []
    for layer in predictor.backend.model.bert.encoder.layer:
        layer.output.dense.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    predictor.logits(TEXTS)
    assert sum(rows) == sum(predictor.backend.depths.elements()) < 4 * len(TEXTS)


def test_a_higher_threshold_lets_no_text_go_deeper(tmp_path: Path) -> None:
    folder, depths = saved(tmp_path), []
    for threshold in (0, 0.2, 0.4, 0.6, 0.8, 1):
        predictor = Predictor.load(folder, exit_threshold=threshold)
        predictor.logits(TEXTS)
        depths.append(predictor.backend.mean_depth)
    assert depths == sorted(depths, reverse=True)
    assert (depths[0], depths[-1]) == (4, 1)


def test_a_model_with_exits_is_a_plain_one_to_transformers_and_when_it_is_trained_on(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.equal(model.classifier.weight, load_classifier(folder).classifier.weight)
    load_classifier(folder).save_pretrained(tmp_path / "again")
    assert "distilnlp_exits" not in json.loads((tmp_path / "again" / "config.json").read_text())


def test_exits_count_the_labels_as_the_model_does(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    turned = ("mixed", "bad", "good")
    model = align_labels(load_classifier(folder), turned)
    logits = []
    for each in (load_classifier(folder), model):
        backend = Exiting(each, read_exits(folder, each, "it"), 1.0)
        with backend.evaluating():
            logits.append(backend(batch_of(each)))
    torch.testing.assert_close(logits[1], logits[0][:, [2, 0, 1]])


def test_several_labels_leave_too(tmp_path: Path) -> None:
    folder = saved(tmp_path, problem_type="multi_label_classification")
    predictor = Predictor.load(folder, exit_threshold=1.0)
    assert len(predictor.answers(TEXTS)) == 5
    assert predictor.backend.mean_depth == 1


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_of_0_and_1_is_refused(tmp_path: Path, threshold: float) -> None:
    with pytest.raises(RequestError, match=r"from 0 .* to 1"):
        Predictor.load(tmp_path / "nothing is loaded before", exit_threshold=threshold)


def config_with(folder: Path, value: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "distilnlp_exits": value}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: config_with(folder, None), "has no exits: train it with the part early_exits"),
        (lambda folder: config_with(folder, [1]), "inner layers"),
        (lambda folder: config_with(folder, {"layers": [1, 4], "pooling": "cls"}), "1 to 3"),
        (lambda folder: config_with(folder, {"layers": [2, 1], "pooling": "cls"}), "ascending"),
        (lambda folder: config_with(folder, {"layers": [1], "pooling": "max"}), "cls or mean"),
        (lambda folder: config_with(folder, {"layers": [1, 2], "pooling": "cls"}), "not of the model beside it"),
        (lambda folder: (folder / EXITS_FILE).unlink(), "lacks exits.safetensors"),
        (lambda folder: (folder / EXITS_FILE).write_bytes(b"\x08" * 99), "is damaged"),
        (lambda folder: write_exits(folder, exits_of(tiny_model("bert", hidden=16))), "not of the model beside it"),
    ],
)
def test_exits_that_cannot_be_are_refused_in_one_line_and_the_model_still_answers(tmp_path, harm, message) -> None:
    harm(saved(tmp_path))
    with pytest.raises(RequestError, match=message) as caught:
        Predictor.load(tmp_path, exit_threshold=0.5)
    assert "\n" not in str(caught.value)
    assert len(Predictor.load(tmp_path).answers(TEXTS)) == 5


def test_a_number_has_no_exits(tmp_path: Path) -> None:
    saved(tmp_path, problem_type="regression", label_names=None, num_labels=1)
    with pytest.raises(RequestError, match="one class or several labels"):
        Predictor.load(tmp_path, exit_threshold=0.5)

"""Model folders that must not be loaded: damaged, pickled, with code of their own, without a vocabulary."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.models.loading import load_classifier, load_tokenizer, resolve_model
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model("bert").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def pickled_weights(folder: Path) -> None:
    torch.save(tiny_model("bert").state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def own_code(folder: Path) -> None:
    """A kind of model that only code in the folder knows; running it would leave a file."""
    config = json.loads((folder / "config.json").read_text())
    auto_map = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": auto_map}))
    (folder / "code.py").write_text(f"open({str(folder / 'executed')!r}, 'w')\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_weights, "model.safetensors is damaged"),
        (empty_weights, "model.safetensors is damaged"),
        (pickled_weights, "no file named model.safetensors"),
        (own_code, "trust_remote_code|custom code"),
    ],
)
def test_weights_are_whole_safetensors_and_code_is_not_run(folder: Path, change: Callable, message: str) -> None:
    change(folder)
    with pytest.raises(RequestError, match=message):
        load_classifier(folder)
    assert not (folder / "executed").exists()


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(RequestError, match="is a file: a model is the folder"):
        load_classifier(folder / "config.json")


@pytest.mark.parametrize("start", ["", "./", "../runs/", "/"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch, start: str) -> None:
    """`runs/teacher` could be a Hub id, but not where there is a folder `runs`."""
    (tmp_path / "runs" / "mine" / "teacher").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs")
    name = f"{tmp_path}/runs/mine/teacer" if start == "/" else f"{start}mine/teacer"
    with pytest.raises(RequestError, match=rf"^there is no model folder {name}: did you mean '.*mine/teacher'\?$"):
        resolve_model(name)
    with pytest.raises(RequestError, match=r"^there is no model folder mine/small: mine has teacher$"):
        resolve_model("mine/small")


@pytest.mark.parametrize("name", ["google-bert/bert-base-uncased", "bert-base-uncased", "mine"])
def test_what_can_only_be_on_the_hub_is_left_to_it(tmp_path: Path, monkeypatch, name: str) -> None:
    (tmp_path / "google").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model(name) == name


def test_a_tokenizer_is_whole(folder: Path) -> None:
    assert len(load_tokenizer(folder)) == len(tiny_tokenizer())
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(RequestError, match="cannot load the tokenizer"):
        load_tokenizer(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(RequestError, match=r"has no vocabulary|cannot load the tokenizer"):
        load_tokenizer(folder)

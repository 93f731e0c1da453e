"""Pickles become safetensors where they hold tensors alone; anything else in them is refused and not run."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from distilnlp.cli import main
from distilnlp.errors import RequestError
from distilnlp.models.loading import load_classifier
from distilnlp.models.predictor import Predictor
from distilnlp.run.convert import convert
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A model as it was saved some years ago, two of whose tensors share their memory."""
    model = tiny_model("bert", label_names=("no", "yes"))
    model.save_pretrained(tmp_path / "old")
    tiny_tokenizer().save_pretrained(tmp_path / "old")
    weights = model.state_dict()
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"]
    torch.save(weights, tmp_path / "old" / "pytorch_model.bin")
    (tmp_path / "old" / "model.safetensors").rename(tmp_path / "expected.safetensors")
    return tmp_path / "old"


def test_the_command_that_the_refusal_names_makes_a_model_that_answers(pickled: Path, capsys) -> None:
    with pytest.raises(RequestError, match=r"`distilnlp convert .* OUTPUT` saves them as safetensors"):
        load_classifier(pickled)
    new = pickled.parent / "new"
    assert main(["convert", str(pickled), str(new)]) == 0
    assert capsys.readouterr().out == f"{pickled} is in {new}, as safetensors\n"
    got, expected = load_file(new / "model.safetensors"), load_file(pickled.parent / "expected.safetensors")
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())
    assert Predictor.load(new).label_names == ("no", "yes")
    assert not list(new.glob("*.bin"))
    assert sorted(path.name for path in pickled.parent.iterdir()) == ["expected.safetensors", "new", "old"]


def test_a_pickle_in_several_files_is_converted(pickled: Path) -> None:
    weights = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    names = sorted(weights)
    files = {name: f"pytorch_model-0000{1 + (place % 2)}-of-00002.bin" for place, name in enumerate(names)}
    for file in set(files.values()):
        torch.save({name: weights[name] for name in names if files[name] == file}, pickled / file)
    (pickled / "pytorch_model.bin").unlink()
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": files}))
    assert load_classifier(convert(str(pickled), pickled.parent / "new"), require_head=True)


def test_adapters_are_converted_and_keep_their_base(tmp_path: Path, monkeypatch) -> None:
    tiny_model("bert").save_pretrained(tmp_path / "base")
    model = get_peft_model(load_classifier(tmp_path / "base"), LoraConfig(task_type="SEQ_CLS", r=2))
    folder = tmp_path / "base" / "adapters"
    model.save_pretrained(folder)
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": ".."}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load_classifier(convert(str(folder), "new"), require_head=True)


class Payload:
    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, ("executed",)


def planted(folder: Path) -> None:
    with open(folder / "pytorch_model.bin", "wb") as file:
        pickle.dump({"classifier.weight": Payload()}, file)


def planted_in_an_archive(folder: Path) -> None:
    torch.save({"classifier.weight": torch.ones(1), "x": Payload()}, folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-200])


def index_elsewhere(folder: Path) -> None:
    (folder / "pytorch_model.bin").rename(folder.parent / "other.bin")
    index = {"weight_map": {"classifier.weight": "../other.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (planted, "holds more than tensors, which could run code, and is not read"),
        (planted_in_an_archive, "holds more than tensors"),
        (cut, "pytorch_model.bin is damaged|holds more than tensors"),
        (lambda at: torch.save([torch.ones(1)], at / "pytorch_model.bin"), "is no table of tensors"),
        (lambda at: torch.save({"a": torch.ones(1)}, at / "pytorch_model.bin"), "lacks .* weights of its own body"),
        (lambda at: (at / "pytorch_model.bin").unlink(), "has no pytorch_model.bin: there is nothing to convert"),
        (index_elsewhere, "names '../other.bin': a .bin file beside it is needed"),
        (lambda at: (at / "model.safetensors").write_bytes(b""), "has model.safetensors already"),
        (lambda at: (at.parent / "new").mkdir(), "is there already: give the name of a new folder"),
    ],
)
def test_what_is_no_model_in_a_pickle_leaves_nothing(pickled: Path, change, message: str, monkeypatch) -> None:
    monkeypatch.chdir(pickled.parent)
    change(pickled)
    before = sorted(pickled.parent.iterdir())
    with pytest.raises(RequestError, match=message):
        convert(str(pickled), pickled.parent / "new")
    assert sorted(pickled.parent.iterdir()) == before

"""Model folders that must not be loaded: damaged, pickled, with code of their own, without vocabulary or head."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

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


@pytest.fixture
def adapters(tmp_path: Path) -> Callable[..., Path]:
    """Saves adapters, and the head that was trained with them, on a base that has no head."""

    def save(num_labels: int = 3, **settings: str) -> Path:
        tiny_model("bert").base_model.save_pretrained(tmp_path / "base")
        model = load_classifier(tmp_path / "base", label_names=[f"LABEL_{i}" for i in range(num_labels)])
        config = LoraConfig(r=2, target_modules=["query"], **settings)
        get_peft_model(model, config).save_pretrained(tmp_path / "adapters")
        return tmp_path / "adapters"

    return save


def test_adapters_bring_the_head_or_are_refused(adapters: Callable[..., Path]) -> None:
    """Made new, the head would answer at random; adapters of an unknown task do not save it."""
    load_classifier(adapters(task_type="SEQ_CLS"), require_head=True)
    headless = adapters()
    with pytest.raises(RequestError, match=r"adapters has no classification head of its own \(classifier.bias is"):
        load_classifier(headless, require_head=True)
    load_classifier(headless)


def test_adapters_for_other_labels_than_their_base_are_refused_in_one_line(adapters: Callable[..., Path]) -> None:
    """Adapters do not save how many labels they are for: the base's number is taken, which may be another."""
    folder = adapters(num_labels=2, task_type="SEQ_CLS")
    with pytest.raises(
        RequestError, match=r"^the adapters in .* do not fit .*base with 3 labels: save them merged.*$"
    ):
        load_classifier(folder, require_head=True)
    assert load_classifier(folder, label_names=["no", "yes"], require_head=True).config.num_labels == 2


def unknown_adapters(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "NONE"}))


def pickled_adapters(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "adapter_config.json is damaged .*: copy"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "adapter_config.json is damaged .*: copy"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "names no base model: set its base_model"),
        (
            lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""),
            "adapter_model.safetensors is damaged",
        ),
        (unknown_adapters, "^cannot load the adapters of .*adapters: "),
        (pickled_adapters, "has no adapter_model.safetensors"),
    ],
)
def test_adapters_are_whole_and_name_their_base(
    adapters: Callable[..., Path], change: Callable[[Path], object], message: str
) -> None:
    folder = adapters(task_type="SEQ_CLS")
    change(folder)
    with pytest.raises(RequestError, match=message):
        load_classifier(folder)

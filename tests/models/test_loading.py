"""Model folders that must not be loaded: damaged, pickled, with code of their own, without vocabulary or head."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distilnlp.errors import RequestError
from distilnlp.models.loading import load_classifier, load_config, load_model, load_tokenizer, resolve_model
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
        (pickled_weights, "has its weights in pytorch_model.bin only, .*`distilnlp convert .*model OUTPUT` saves"),
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


def set_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def set_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"hidden_size": 64},
            r"has bert\..* of shape .* and its config makes it .*: config.json and weights are not of",
        ),
        ({"num_labels": 5}, "has num_labels 5 and 3 names in id2label: correct one"),
        ({"id2label": {"0": "no", "1": "yes"}}, r"its config says \(classifier.* is \[3.*, and there are 2 labels\)"),
        (
            {"num_hidden_layers": 1},
            "has 16 weights of layers that its config does not have .* correct num_hidden_layers",
        ),
        ({"num_hidden_layers": 3}, "lacks 16 weights of its own body"),
        ({"vocab_size": 10**9}, "word_embeddings.weight of shape"),
    ],
)
def test_config_and_weights_are_of_one_model(folder: Path, fields: dict[str, object], message: str) -> None:
    """A model of one layer too few answers, and wrongly; what does not fit is no reason for a head made new."""
    set_config(folder, **fields)
    with pytest.raises(RequestError, match=message):
        load_classifier(folder)


def test_another_task_gives_a_new_head_where_the_files_are_of_one_model(folder: Path) -> None:
    model, whole = load_model(folder, label_names=["no", "yes"])
    assert (model.config.num_labels, whole) == (2, False)
    assert load_model(folder)[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(folder: Path, dtype: torch.dtype, value: float) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights["classifier.weight"][1, 2] = value
        weights.update({name: tensor.to(dtype) for name, tensor in weights.items()})

    set_weights(folder, spoil)
    with pytest.raises(RequestError, match=r"1 of 96 numbers in classifier.weight that are not finite \(NaN or Inf\)"):
        load_classifier(folder)


def test_a_large_sum_of_finite_weights_is_no_fault(folder: Path) -> None:
    set_weights(folder, lambda weights: weights["bert.embeddings.position_embeddings.weight"].fill_(3e37))
    set_weights(folder, lambda weights: weights["bert.embeddings.position_embeddings.weight"][:10].zero_())
    load_classifier(folder)


def test_a_config_that_makes_every_answer_nan_is_refused(folder: Path) -> None:
    set_config(folder, layer_norm_eps=-1e9)
    with pytest.raises(RequestError, match="answers with numbers that are not finite"):
        load_classifier(folder)


def test_whole_numbers_in_place_of_weights_are_refused(folder: Path) -> None:
    set_weights(folder, lambda weights: weights.update({"classifier.weight": torch.ones(3, 32, dtype=torch.int8)}))
    with pytest.raises(RequestError, match=r"holds classifier.weight as I8: .* without quantisation"):
        load_classifier(folder)


def sharded(folder: Path, **weight_map: str) -> None:
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    whole = dict.fromkeys(names, "model-00001-of-00001.safetensors") | weight_map
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": whole}))


def test_a_model_in_several_files_is_loaded(folder: Path) -> None:
    expected = load_classifier(folder).state_dict()
    sharded(folder)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_classifier(folder).state_dict().items())


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "weights.bin",
            "names 'weights.bin', and only .safetensors files beside it are read: save it again",
        ),
        ("../model.safetensors", "names '../model.safetensors', and only .safetensors files beside it are read"),
        ("/tmp/model.safetensors", "names '/tmp/model.safetensors', and only"),
        ("model-00002-of-00002.safetensors", "lacks model-00002-of-00002.safetensors, which its index names"),
    ],
)
def test_an_index_names_safetensors_beside_it(folder: Path, file: str, message: str) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "weights.bin")
    sharded(folder, **{"classifier.weight": file})
    with pytest.raises(RequestError, match=message):
        load_classifier(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "anything"])
def test_a_pipe_in_the_folder_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    for load in (load_classifier, load_tokenizer, load_config):
        with pytest.raises(RequestError, match=r"neither a file nor a folder|holds no model"):
            load(folder)


def test_the_tokenizer_sees_what_a_model_needs(folder: Path) -> None:
    """Without a padding token there is no batch; without [CLS] the head reads the first word in its place."""
    whole = json.loads((folder / "tokenizer_config.json").read_text())
    for fields, message in [
        ({"pad_token": None}, "has no padding token: set its pad_token"),
        ({"model_max_length": 2}, "has model_max_length 2: 3 are special tokens alone"),
        ({"model_max_length": -5}, "has model_max_length -5: a number from 1 is needed"),
    ]:
        (folder / "tokenizer_config.json").write_text(json.dumps({**whole, **fields}))
        with pytest.raises(RequestError, match=message):
            load_tokenizer(folder)
    generic = {key: value for key, value in whole.items() if key != "tokenizer_class"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**generic, "tokenizer_class": "TokenizersBackend"}))
    load_tokenizer(folder)
    made = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**made, "post_processor": None}))
    with pytest.raises(RequestError, match=r"does not put \[CLS\] around a text"):
        load_tokenizer(folder)


def test_what_a_model_returns_is_not_for_its_folder_to_say(folder: Path) -> None:
    expected = load_classifier(folder)(torch.tensor([[2, 7, 3]])).logits
    set_config(folder, return_dict=False, output_attentions=True, output_hidden_states=True, chunk_size_feed_forward=7)
    set_config(folder, attn_implementation="someone/kernel", transformers_weights="../elsewhere.safetensors")
    got = load_classifier(folder)(torch.tensor([[2, 7, 3]]))
    assert torch.equal(got.logits, expected)
    assert got.attentions is got.hidden_states is None


def test_a_model_without_a_position_for_a_token_is_refused(tmp_path: Path) -> None:
    tiny_model("roberta", max_position_embeddings=1).save_pretrained(tmp_path)
    with pytest.raises(RequestError, match=r"has positions for 0 tokens \(max_position_embeddings\)"):
        load_classifier(tmp_path)

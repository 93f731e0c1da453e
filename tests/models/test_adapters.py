"""Adapters bring their head and their labels, fit their base in every weight, and choose no code and no files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from distilnlp.errors import RequestError
from distilnlp.models.loading import load_classifier, load_config, load_tokenizer, merge_adapter
from tests.tiny import tiny_model, tiny_tokenizer

IDS = torch.tensor([[2, 7, 9, 3]])


@pytest.fixture
def adapters(tmp_path: Path) -> Callable[..., Path]:
    """Saves adapters, and the head that was trained with them, on a base that has no head."""

    def save(num_labels: int = 3, **settings: object) -> Path:
        tiny_model("bert").base_model.save_pretrained(tmp_path / "base")
        model = load_classifier(tmp_path / "base", label_names=[f"LABEL_{i}" for i in range(num_labels)])
        config = LoraConfig(r=2, target_modules=["query"], init_lora_weights=False, **settings)
        get_peft_model(model, config).save_pretrained(tmp_path / "adapters")
        return tmp_path / "adapters"

    return save


def set_config(folder: Path, **fields: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(task_type="SEQ_CLS", r=2, init_lora_weights=False),
        LoraConfig(task_type="SEQ_CLS", r=2, use_dora=True, use_rslora=True, init_lora_weights=False),
        IA3Config(task_type="SEQ_CLS", init_ia3_weights=False),
        LoHaConfig(task_type="SEQ_CLS", target_modules=["value"], alpha=512, init_weights=False),
    ],
    ids=["lora", "dora", "ia3", "loha"],
)
def test_merged_adapters_answer_as_the_adapted_model_did(tmp_path: Path, config: LoraConfig) -> None:
    tiny_model("bert", seed=1).save_pretrained(tmp_path / "base")
    adapted = get_peft_model(load_classifier(tmp_path / "base"), config).eval()
    plain = load_classifier(tmp_path / "base")(IDS).logits
    expected = adapted(IDS).logits
    adapted.save_pretrained(tmp_path / "adapters")
    got = load_classifier(tmp_path / "adapters", require_head=True)(IDS).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(got, plain, atol=1e-4)


def test_adapters_bring_the_head_or_are_refused(adapters: Callable[..., Path]) -> None:
    """Made new, the head would answer at random; adapters of an unknown task do not save it."""
    load_classifier(adapters(task_type="SEQ_CLS"), require_head=True)
    headless = adapters()
    with pytest.raises(RequestError, match=r"adapters has no classification head of its own \(classifier.bias is"):
        load_classifier(headless, require_head=True)
    load_classifier(headless)


def test_the_head_of_the_adapters_says_how_many_labels_there_are(adapters: Callable[..., Path]) -> None:
    """Adapters do not save how many labels they are for, and their base may have another number."""
    folder = adapters(num_labels=5, task_type="SEQ_CLS")
    assert load_config(folder).num_labels == load_classifier(folder, require_head=True).config.num_labels == 5
    named = load_classifier(folder, label_names=list("abcde"), require_head=True)
    assert named.config.id2label == dict(enumerate("abcde"))
    with pytest.raises(RequestError, match=r"adapters in .* do not fit .*base with 2 labels"):
        load_classifier(folder, label_names=["no", "yes"], require_head=True)
    assert load_classifier(folder, label_names=["no", "yes"]).config.num_labels == 2


def test_a_config_beside_the_adapters_names_their_labels(adapters: Callable[..., Path]) -> None:
    folder = adapters(num_labels=2, task_type="SEQ_CLS")
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "no", "1": "yes"}}))
    assert load_classifier(folder).config.id2label == {0: "no", 1: "yes"}


def bare(folder: Path) -> None:
    """Adapters of an encoder alone: not one of their names is one of the classifier's."""
    body = AutoModel.from_pretrained(folder.parent / "base")
    get_peft_model(body, LoraConfig(r=2, target_modules=["query"])).save_pretrained(folder)


def without_head(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: v for k, v in weights.items() if "classifier" not in k}, folder / "adapter_model.safetensors")


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def on_adapters(folder: Path) -> None:
    set_config(folder, base_model_name_or_path=str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda at: (at / "adapter_config.json").write_text("{"), "adapter_config.json is damaged .*: copy"),
        (lambda at: (at / "adapter_config.json").write_text("[]"), "adapter_config.json is damaged .*: copy"),
        (lambda at: (at / "adapter_config.json").write_text("{}"), "names no base model: set its base_model"),
        (lambda at: (at / "adapter_model.safetensors").write_bytes(b""), "adapter_model.safetensors is damaged"),
        (
            lambda at: (at / "adapter_model.safetensors").unlink(),
            "has no adapter_model.safetensors: save the adapters",
        ),
        (pickled, "in adapter_model.bin only, a pickle, .*`distilnlp convert .*adapters OUTPUT`"),
        (
            lambda at: set_config(at, peft_type="XLORA"),
            "their peft_type is 'XLORA', and only ADALORA, .* can be merged",
        ),
        (
            lambda at: set_config(at, task_type="FEATURE_EXTRACTION"),
            "is 'FEATURE_EXTRACTION', so .* no classification",
        ),
        (lambda at: set_config(at, init_lora_weights="pissa"), "init_lora_weights changes what their base computes"),
        (lambda at: set_config(at, r="two"), "do not fit .*base with 3 labels"),
        (lambda at: set_config(at, r=3), "do not fit .*size mismatch"),
        (lambda at: set_config(at, target_modules=["query", "key"]), "the folder lacks .*key.lora_A"),
        (lambda at: set_config(at, target_modules=["value"]), "the base has no place for .*query.lora_A"),
        (bare, "the base has no place for|no classification head"),
        (without_head, "has no classification head of its own"),
        (on_adapters, "adapters, which is adapters itself: merge those first"),
        (
            lambda at: set_config(at, base_model_name_or_path="./gone"),
            r"base of the adapters in .*: there is no model",
        ),
    ],
)
def test_adapters_are_whole_and_of_their_base(
    adapters: Callable[..., Path], change: Callable[[Path], object], message: str
) -> None:
    folder = adapters(task_type="SEQ_CLS")
    change(folder)
    with pytest.raises(RequestError, match=message) as caught:
        load_classifier(folder, require_head=True)
    assert "\n" not in str(caught.value)


def test_a_head_that_the_adapters_promise_is_there(adapters: Callable[..., Path]) -> None:
    """The base has one of its own, which was not trained with them."""
    folder = adapters(task_type="SEQ_CLS")
    tiny_model("bert").save_pretrained(folder.parent / "base")
    without_head(folder)
    with pytest.raises(RequestError, match=r"adapters in .* do not fit .*classifier"):
        load_classifier(folder, require_head=True)


def test_the_base_is_looked_for_beside_the_adapters(adapters: Callable[..., Path], tmp_path, monkeypatch) -> None:
    folder = adapters(task_type="SEQ_CLS")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    set_config(folder, base_model_name_or_path="../base")
    load_classifier(folder)


def test_no_module_that_the_adapters_name_is_imported(adapters: Callable[..., Path], monkeypatch) -> None:
    """What stands in the working directory can be imported."""
    folder = adapters(task_type="SEQ_CLS")
    (folder / "payload.py").write_text(f"open({str(folder / 'executed')!r}, 'w')")
    keys = {"megatron_config": {"x": 1}, "megatron_core": "payload", "unknown": "payload"}
    set_config(folder, **keys, auto_mapping={"base_model_class": "x", "parent_library": "payload"})
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("")
    load_classifier(".", require_head=True)
    assert not (folder / "executed").exists()
    assert "payload" not in sys.modules


def test_adapters_without_a_tokenizer_have_that_of_their_base(adapters: Callable[..., Path]) -> None:
    folder = adapters(task_type="SEQ_CLS")
    tiny_tokenizer().save_pretrained(folder.parent / "base")
    assert load_tokenizer(folder).get_vocab() == tiny_tokenizer().get_vocab()


def test_what_cannot_be_merged_says_so() -> None:
    model = get_peft_model(tiny_model("bert"), PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2))
    with pytest.raises(RequestError, match="these adapters cannot be merged into their model"):
        merge_adapter(model)

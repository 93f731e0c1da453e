"""An ONNX file answers as a model whose weights are in torch, or is refused for what is wrong with it."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from transformers import BertConfig

from distilnlp.errors import RequestError, RunError
from distilnlp.models.onnx_backend import OnnxBackend
from tests.test_onnx_file import classifier


def config(*names: str) -> BertConfig:
    return BertConfig(vocab_size=5, id2label=dict(enumerate(names or ("no", "yes"))), pad_token_id=0)


def test_it_answers_with_the_files_numbers(tmp_path: Path) -> None:
    backend = OnnxBackend(classifier(tmp_path / "model.onnx"), config())
    assert backend.columns == {"input_ids"}
    assert (backend.device.type, backend.dtype) == ("cpu", "float32")
    with backend.evaluating():
        assert backend({"input_ids": torch.tensor([[3, 1], [2, 1]])}).tolist() == [[6.0, 7.0], [4.0, 5.0]]


def test_its_answers_are_put_into_the_order_of_a_task(tmp_path: Path) -> None:
    backend = OnnxBackend(classifier(tmp_path / "model.onnx"), config("no", "yes"))
    backend.align(["yes", "no"])
    assert backend({"input_ids": torch.tensor([[3]])}).tolist() == [[7.0, 6.0]]
    assert backend.config.id2label == {0: "yes", 1: "no"}
    with pytest.raises(RequestError, match="the labels of the data are red, blue"):
        backend.align(["red", "blue"])


def test_other_labels_than_the_config_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"answers with shape \[2, 3\] to 2 texts, and has 2 labels"):
        OnnxBackend(classifier(tmp_path / "model.onnx", labels=3), config())


def changed(path: Path, **names: str) -> Path:
    model = onnx.load(classifier(path))
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("names", [{"input_ids": "pixel_values"}, {"logits": "boxes"}])
def test_a_file_that_reads_or_gives_something_else_is_refused(names: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"a model that reads tokens .* and gives logits is needed"):
        OnnxBackend(changed(tmp_path / "model.onnx", **names), config())


def test_an_operator_that_the_runtime_lacks_is_told(tmp_path: Path) -> None:
    model = onnx.load(classifier(tmp_path / "model.onnx"))
    model.graph.node[-1].CopyFrom(helper.make_node("Unheard", ["found"], ["logits"], domain="of.nobody"))
    model.opset_import.append(helper.make_opsetid("of.nobody", 1))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(RequestError, match=r"ONNX Runtime cannot run .*Unheard.*: export the model again"):
        OnnxBackend(tmp_path / "model.onnx", config())


def test_a_shape_that_was_fixed_at_the_export_is_told(tmp_path: Path) -> None:
    model = onnx.load(classifier(tmp_path / "model.onnx"))
    fixed = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [2, 4])
    model.graph.input[0].CopyFrom(fixed)
    onnx.save(model, tmp_path / "model.onnx")
    backend = OnnxBackend(tmp_path / "model.onnx", config())
    with pytest.raises(RunError, match=r"cannot answer texts of shape \[1, 9\]"):
        backend({"input_ids": torch.ones(1, 9, dtype=torch.int64)})

"""An ONNX file is taken for one only where it is whole and stands for itself."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from distilnlp.errors import RequestError
from distilnlp.exported_file import exported_files
from distilnlp.onnx_file import count_weights, precision, read_onnx, words_of


def classifier(path: Path, labels: int = 2, kind: type[np.generic] = np.float32) -> Path:
    """A file that looks up a row of logits for the first token of each text."""
    table = np.arange(5 * labels, dtype=kind).reshape(5, labels)
    nodes = [
        helper.make_node("Gather", ["input_ids", "zero"], ["first"], axis=1),
        helper.make_node("Gather", ["table", "first"], ["found"], axis=0),
        helper.make_node("Cast", ["found"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array(0), "zero")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    model = read_onnx(classifier(tmp_path / "model.onnx"))
    assert [each.name for each in model.graph.input] == ["input_ids"]
    assert precision(model) == "float32"
    assert count_weights(model) == (10, 0)


@pytest.mark.parametrize(("kind", "said"), [(np.float16, "float16"), (np.int8, "int8"), (np.uint8, "int8")])
def test_its_precision_is_that_of_its_weights(kind: type[np.generic], said: str, tmp_path: Path) -> None:
    assert precision(read_onnx(classifier(tmp_path / "model.onnx", kind=kind))) == said


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"version https://git-lfs.github.com/spec/v1\n", bytes(100)])
def test_another_file_of_that_name_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(
        RequestError, match=r"model\.onnx is no ONNX file, or a damaged one \(.*export the model again"
    ):
        read_onnx(path)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = classifier(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RequestError, match="is no ONNX file, or a damaged one"):
        read_onnx(path)


def test_weights_in_another_file_are_refused_wherever_a_tensor_is(tmp_path: Path) -> None:
    """Its path could lead to any file of the machine that reads it."""
    path = classifier(tmp_path / "model.onnx")
    for place in ("initializer", "constant"):
        model = onnx.load(path)
        tensor = model.graph.initializer[0]
        if place == "constant":
            node = helper.make_node("Constant", [], ["table"], value=tensor)
            del model.graph.initializer[0]
            model.graph.node.insert(0, node)
            tensor = model.graph.node[0].attribute[0].t
        onnx.external_data_helper.set_external_data(tensor, location="../../secret")
        (tmp_path / f"{place}.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(RequestError, match=r"has its weights in another file \('../../secret'\)"):
            read_onnx(tmp_path / f"{place}.onnx")


def test_the_quantised_file_stands_for_a_folder(tmp_path: Path) -> None:
    assert exported_files(tmp_path) == []
    for name in ("model.onnx", "model_quantized.onnx", "other.onnx"):
        classifier(tmp_path / "onnx" / name)
    assert [path.name for path in exported_files(tmp_path)] == ["model_quantized.onnx", "model.onnx"]


def test_the_extra_is_named_where_it_is_not_installed(tmp_path: Path, monkeypatch) -> None:
    path = classifier(tmp_path / "model.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"onnx is not installed, .*: pip install 'distilnlp\[onnx\]'"):
        read_onnx(path)


def test_the_words_of_a_file_are_all_but_its_weights(tmp_path: Path) -> None:
    model = onnx.load(classifier(tmp_path / "model.onnx", labels=1000))
    model.graph.doc_string = "made of a film"
    onnx.save(model, tmp_path / "model.onnx")
    words = words_of(tmp_path / "model.onnx")
    assert b"made of a film" in words
    assert len(words) < 2000 < (tmp_path / "model.onnx").stat().st_size

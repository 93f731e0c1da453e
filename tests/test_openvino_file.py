"""A graph of OpenVINO is taken for one only where it is plain data and its weights are those beside it."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from distilnlp.errors import RequestError
from distilnlp.openvino_file import need_openvino, read_ir


def classifier(path: Path, labels: int = 2, kind: type[np.generic] = np.float32) -> Path:
    """A graph that looks up a row of logits for the first token of each text."""
    need_openvino()
    import openvino
    from openvino import opset14 as operators

    table = operators.constant(np.arange(5 * labels, dtype=kind).reshape(5, labels))
    tokens = operators.parameter([-1, -1], np.int64, name="input_ids")
    tokens.output(0).get_tensor().set_names({"input_ids"})
    zero = operators.constant(np.array(0))
    first = operators.gather(tokens, zero, operators.constant(np.array(1)))
    found = operators.gather(operators.convert(table, "f32") if kind is not np.float32 else table, first, zero)
    found.output(0).get_tensor().set_names({"logits"})
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(openvino.Model([found], [tokens], "made"), path, compress_to_fp16=False)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return classifier(tmp_path / "openvino_model.xml")


def test_a_whole_graph_is_read(path: Path) -> None:
    graph = read_ir(path)
    assert graph.precision == "float32"
    assert graph.count_weights() == (10, 0)
    assert graph.text == path.read_bytes()


@pytest.mark.parametrize(("kind", "said"), [(np.float16, "float16"), (np.int8, "int8"), (np.uint8, "int8")])
def test_its_precision_is_that_of_its_weights(kind: type[np.generic], said: str, tmp_path: Path) -> None:
    graph = read_ir(classifier(tmp_path / "model.xml", kind=kind))
    assert graph.precision == said
    assert graph.count_weights() == (10, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no element found"),
        (b"version https://git-lfs.github.com/spec/v1\n", "syntax error"),
        (b"<note/>", "its root is <note version=None>"),
        (b'<net version="6"><layers/></net>', "its root is <net version='6'>"),
        (b'<!DOCTYPE net [<!ENTITY a "b">]><net version="11"/>', "it declares a document type"),
        (b'<net version="11"><layers>', "no element found"),
    ],
)
def test_another_file_of_that_name_is_refused(content: bytes, reason: str, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"is no model of OpenVINO, or a damaged one \(") as refused:
        read_ir(path)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            'type="Gather" version="opset8"',
            'type="Own" version="extension"',
            "'Own' of 'extension' is none of OpenVINO's",
        ),
        ('batch_dims="0"', 'batch_dims="/etc/hostname"', "it names '/etc/hostname'"),
        ('batch_dims="0"', 'batch_dims="https://nobody/x"', "it names 'https://nobody/x'"),
        ('offset="0" size="40"', 'offset="-8" size="40"', "has 40 bytes at -8"),
        ('offset="0" size="40"', 'path="x" offset="0" size="40"', "is described by element_type, offset, path"),
        ('element_type="f32" shape="5, 2"', 'element_type="string" shape="5, 2"', "no plain numbers"),
        ('offset="0" size="40"', 'offset="all" size="40"', "invalid literal"),
    ],
)
def test_what_is_more_than_numbers_and_known_operators_is_refused(old: str, new: str, reason: str, path: Path) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RequestError, match="is no model of OpenVINO, or a damaged one") as refused:
        read_ir(path)
    assert reason in str(refused.value)


def test_weights_that_are_missing_or_of_another_model_are_refused(path: Path) -> None:
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes() + b"private")
    with pytest.raises(RequestError, match=r"describes \d+: the two are not of one model, export it again"):
        read_ir(path)
    weights.unlink()
    with pytest.raises(RequestError, match=r"has no openvino_model\.bin beside it, which holds its weights"):
        read_ir(path)


def test_the_extra_is_named_where_it_is_not_installed(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"openvino is not installed, .*: pip install 'distilnlp\[openvino\]'"):
        need_openvino()


def test_what_would_tell_others_of_its_use_is_not_found(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    need_openvino()
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")

"""A graph of OpenVINO answers as its model does, and what can be quantised in it is known by the model's own parts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distilnlp.export.openvino_graph import quantisable, quantised, trace, write
from distilnlp.models.encoder import count_parameters
from distilnlp.models.openvino_backend import OpenVinoBackend
from distilnlp.openvino_file import read_ir
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow(7)  # to trace a model takes seconds, however small it is

TEXTS = ["the film was good", "a weak book", "it seems that we saw this awful meal on the red one"]
LAYERS = {"albert": 1}  # the layers of others have weights of their own
# Biases and norms of shared layers stand in a graph once a layer; so do tables that are computed once for all texts.
IN_GRAPH_ALONE = {"albert": 352, "deberta-v2": 1482, "modernbert": 12}


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_architecture_is_traced_and_quantised(kind: str, tmp_path: Path) -> None:
    model = tiny_model(kind, label_names=("bad", "good", "mixed"), initializer_range=0.3)
    torch.manual_seed(0)
    for weights in model.parameters():
        weights.data += 0.05 * torch.randn_like(weights)  # a bias of 0 would not be in a graph
    read = tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")
    takes = {"input_ids", "attention_mask"} | (
        {"token_type_ids"} if getattr(model.config, "type_vocab_size", 0) else set()
    )
    inputs = {name: tensor for name, tensor in read.items() if name in takes}
    graph, modules = trace(model, {name: tensor[:2, :6] for name, tensor in inputs.items()})
    groups = quantisable(graph, modules)
    parts = {name for name in groups if name.split(".")[-2:-1] and name.split(".")[-2].isdigit()}
    assert "embeddings" in groups
    assert "head" not in groups  # what it is called where its weights are not those of a known module
    assert len({name.split(".")[-2] for name in parts}) == LAYERS.get(kind, 2)

    write(graph, tmp_path / "fp32.xml")
    left = [*groups["embeddings"]]
    write(quantised(graph, left_out=left, calibration=[inputs]), tmp_path / "int8.xml")
    backends = [OpenVinoBackend(tmp_path / name, model.config) for name in ("fp32.xml", "int8.xml")]
    with torch.no_grad():
        expected = model(**inputs).logits
    fp32, int8 = (backend(inputs) for backend in backends)
    assert expected.abs().max() > 0.1
    np.testing.assert_allclose(fp32, expected, atol=1e-4)
    assert 0 < (int8 - expected).abs().max() < expected.abs().max()
    assert backends[0].count_parameters() == backends[1].count_parameters()
    assert backends[0].count_parameters()[0] - count_parameters(model)[0] == IN_GRAPH_ALONE.get(kind, 0)
    # The embeddings are those that stay in fp32.
    assert small(tmp_path / "fp32.xml", "f32") == small(tmp_path / "int8.xml", "i8") + len(left)


def small(path: Path, kind: str) -> int:
    """How many matrices are of a kind of numbers, scales aside."""
    constants = [each.find("data") for each in read_ir(path).net.iterfind("./layers/layer[@type='Const']")]
    shapes = [data.get("shape").split(",") for data in constants if data.get("element_type") == kind]
    return sum(len(shape) == 2 and min(map(int, shape)) > 1 for shape in shapes)

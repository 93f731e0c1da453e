"""A graph of OpenVINO answers as a model whose weights are in torch, or is refused for what is wrong with it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distilnlp.errors import RequestError, RunError
from distilnlp.models.openvino_backend import OpenVinoBackend
from tests.models.test_onnx_backend import config
from tests.test_openvino_file import classifier


def test_it_answers_with_the_graphs_numbers(tmp_path: Path) -> None:
    backend = OpenVinoBackend(classifier(tmp_path / "model.xml"), config())
    assert backend.columns == {"input_ids"}
    assert (backend.device.type, backend.dtype, backend.count_parameters()) == ("cpu", "float32", (10, 0))
    with backend.evaluating():
        first = backend({"input_ids": torch.tensor([[3, 1], [2, 1]])})
        assert backend({"input_ids": torch.tensor([[0]])}).tolist() == [[0.0, 1.0]]
    assert first.tolist() == [[6.0, 7.0], [4.0, 5.0]]  # an answer stays what it was when the next is asked for


def test_its_answers_are_put_into_the_order_of_a_task(tmp_path: Path) -> None:
    backend = OpenVinoBackend(classifier(tmp_path / "model.xml"), config("no", "yes"))
    backend.align(["yes", "no"])
    assert backend({"input_ids": torch.tensor([[3]])}).tolist() == [[7.0, 6.0]]


def test_other_labels_than_the_config_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"answers with shape \[2, 3\] to 2 texts, and has 2 labels"):
        OpenVinoBackend(classifier(tmp_path / "model.xml", labels=3), config())


@pytest.mark.parametrize("names", [("input_ids", "pixel_values"), ("logits", "boxes")])
def test_a_graph_that_reads_or_gives_something_else_is_refused(names: tuple[str, str], tmp_path: Path) -> None:
    path = classifier(tmp_path / "model.xml")
    path.write_text(path.read_text().replace(f'names="{names[0]}', f'names="{names[1]}'))
    with pytest.raises(RequestError, match=r"a model that reads tokens .* and gives logits is needed"):
        OpenVinoBackend(path, config())


def test_an_operator_that_the_runtime_lacks_is_told(tmp_path: Path) -> None:
    path = classifier(tmp_path / "model.xml")
    path.write_text(path.read_text().replace('type="Gather"', 'type="Unheard"'))
    with pytest.raises(RequestError, match=r"OpenVINO cannot run .*: export the model again") as refused:
        OpenVinoBackend(path, config())
    assert "\n" not in str(refused.value)


def test_a_shape_that_was_fixed_at_the_export_is_told(tmp_path: Path) -> None:
    import openvino

    path = classifier(tmp_path / "model.xml")
    graph = openvino.Core().read_model(path).clone()
    graph.reshape([2, 4])
    openvino.save_model(graph, tmp_path / "fixed.xml", compress_to_fp16=False)
    backend = OpenVinoBackend(tmp_path / "fixed.xml", config())
    with pytest.raises(RunError, match=r"cannot answer texts of shape \[1, 9\]"):
        backend({"input_ids": torch.ones(1, 9, dtype=torch.int64)})


LET_GO = """
import gc, signal, subprocess, sys, threading
from pathlib import Path
from distilnlp.models.openvino_backend import OpenVinoBackend
from tests.models.test_onnx_backend import config

signal.signal(signal.SIGCHLD, lambda *_: None)  # as torch does for the workers of a DataLoader
held = [OpenVinoBackend(Path(sys.argv[1]), config())]
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
subprocess.run([sys.executable, "-c", ""])
"""


@pytest.mark.slow
def test_a_model_may_be_let_go_of_in_another_thread(tmp_path: Path) -> None:
    """With its core, OpenVINO would free the stack on which signals of the first thread are handled."""
    path = classifier(tmp_path / "model.xml")
    python = [sys.executable, "-X", "faulthandler", "-c", LET_GO, path]
    assert subprocess.run(python, cwd=Path(__file__).resolve().parents[2]).returncode == 0

"""The notebooks: stored clean, and each runs from first cell to last, offline, on few rows and a tiny model."""

import ast
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from transformers import AutoModelForSequenceClassification, BertTokenizer

from distilnlp import load_task
from tests.tiny import POSITIONS, VOCAB, tiny_model

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
WEAK = {"accept_weak_teacher": True}  # few rows and steps teach a tiny model next to nothing
COMMON_WORDS = 600  # enough that most words of the sample are known, without which tokenize refuses it

# Runs before the notebook's own cells: whatever reaches for the network fails, also where it would be caught.
SHUT = """
import os, sys

def _shut(event, args):
    host = args[0] if event == "socket.getaddrinfo" else args[1] if event == "socket.connect" else None
    host = host[0] if isinstance(host, tuple) else host
    if isinstance(host, str) and not host.startswith(("/", "\\0", "127.", "::1", "localhost")):
        os.write(2, f"network used: {event} to {host}".encode())
        os._exit(1)

sys.addaudithook(_shut)
"""


def read(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def settings_cell(notebook: NotebookNode) -> NotebookNode:
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return cell


def settings_of(notebook: NotebookNode) -> dict[str, object]:
    body = ast.parse(settings_cell(notebook).source).body
    return {node.targets[0].id: ast.literal_eval(node.value) for node in body}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model whose vocabulary has the common words of the sample, and all words of the notebooks."""
    task = load_task("mnli-sample", max_train=500)
    texts = " ".join([*task.train["text"], *task.train["text_pair"]]).lower()
    common = [word for word, _ in Counter(re.findall(r"\w+|[^\w\s]", texts)).most_common(COMMON_WORDS)]
    own = re.findall(r"[a-z]+", " ".join(cell.source for name in NOTEBOOKS for cell in read(name).cells).lower())
    words = list(dict.fromkeys([*VOCAB, *common, *own]))
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    model = tiny_model("bert", layers=2)
    model.resize_token_embeddings(len(words), mean_resizing=False)
    model.save_pretrained(folder)
    vocab = {word: index for index, word in enumerate(words)}
    BertTokenizer(vocab=vocab, model_max_length=POSITIONS).save_pretrained(folder)
    return str(folder)


def run(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> tuple[NotebookNode, dict[str, str]]:
    """The notebook with other settings, executed in ``folder``; the text that each code cell showed, by cell id."""
    notebook = read(name)
    assert settings.keys() <= settings_of(notebook).keys()
    changed = "\n".join(f"{key} = {value!r}" for key, value in settings.items())
    after = notebook.cells.index(settings_cell(notebook)) + 1
    notebook.cells.insert(after, nbformat.v4.new_code_cell(changed, id="changed"))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHUT, id="shut"))
    # The user's own Jupyter settings, kernels and backend stay out of it, and nothing is written to their home.
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        (folder / variable.lower()).mkdir()
        monkeypatch.setenv(variable, str(folder / variable.lower()))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return notebook, {cell.id: shown(cell) for cell in code_cells(notebook)}


def shown(cell: NotebookNode) -> str:
    texts = [out.text if out.output_type == "stream" else out.data.get("text/plain", "") for out in cell.outputs]
    return "".join(texts)


def images(notebook: NotebookNode) -> int:
    outputs = [out for cell in code_cells(notebook) for out in cell.outputs if "data" in out]
    return sum("image/png" in out.data for out in outputs)


def complaints(notebook: NotebookNode) -> list[str]:
    """What was written to stderr: warnings and the notices of libraries."""
    outputs = [out for cell in code_cells(notebook) for out in cell.outputs if out.output_type == "stream"]
    return [out.text for out in outputs if out.name == "stderr"]


def test_there_are_four_notebooks():
    assert NOTEBOOKS == ["1-distil-on-glue", "2-your-own-data", "3-your-own-loss", "4-entities-and-embeddings"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_stored_without_outputs(name: str):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.id for cell in code_cells(notebook) if cell.outputs or cell.execution_count is not None] == []
    settings = settings_of(notebook)
    assert settings["MODEL"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert settings.get("TASK", "mnli-sample") == "mnli-sample"  # offline as it stands


def test_the_main_job_takes_fewer_than_ten_cells():
    assert len(code_cells(read("1-distil-on-glue"))) < 10


@pytest.mark.slow(13)
def test_distil_on_glue(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    notebook, output = run(
        *("1-distil-on-glue", tmp_path, monkeypatch),
        MODEL=weights,
        ROWS=96,
        EVAL_ROWS=48,
        EPOCHS=1,
        LAYERS=1,
        MORE={**WEAK, "stages.teacher.training.num_train_epochs": 1},
    )
    assert complaints(notebook) == []
    assert images(notebook) == 2
    assert "96 examples to train on, 48 to measure on, judged by accuracy" in output["data"]
    table = {line.split()[0]: line.split() for line in output["compare"].splitlines() if line}
    assert [len(table[name]) for name in ("teacher", "control", "student")] == [8, 8, 8]
    assert table["control"][2] == table["student"][2] != table["teacher"][2]  # parameters
    assert "entailment" in output["use"] or "neutral" in output["use"] or "contradiction" in output["use"]


@pytest.mark.slow(13)
def test_your_own_data(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    notebook, output = run("2-your-own-data", tmp_path, monkeypatch, MODEL=weights, EPOCHS=1, LAYERS=1, MORE=WEAK)
    assert complaints(notebook) == []
    assert '"The kettle broke after a week, I want my money back",complaint' in output["csv"]
    assert "classes: complaint, question, thanks" in output["load"]
    assert "teacher: accuracy" in output["teacher"]
    assert "student: accuracy" in output["student"]
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "runs/notebook-own-data/distilled/student")
    assert student.config.num_hidden_layers == 1
    lines = output["predict"].strip().splitlines()
    assert len(lines) == 3
    assert {line.split()[0] for line in lines} <= {"complaint", "question", "thanks"}


@pytest.mark.slow(13)
def test_your_own_loss(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    notebook, output = run("3-your-own-loss", tmp_path, monkeypatch, MODEL=weights, ROWS=96, LAYERS=1)
    assert complaints(notebook) == []
    assert images(notebook) == 1
    assert "loss 0.0981" in output["check"]  # 3/4 (3/4 ln 3/2 + 1/4 ln 1/2)
    assert "did you mean 'power'?" in output["objective"]
    assert "'sure_soft_target'" in output["objective"]
    assert "soft_target: accuracy" in output["train"]
    assert "ours: accuracy" in output["train"]


@pytest.mark.slow(13)
def test_entities_and_embeddings(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encoder = tmp_path / "encoder"
    shutil.copytree(weights, encoder)
    described = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    described += [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (encoder / "modules.json").write_text(json.dumps(described))
    (encoder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (encoder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    notebook, output = run(
        *("4-entities-and-embeddings", tmp_path, monkeypatch),
        MODEL=str(encoder),
        EPOCHS=4,
        ROWS=64,
        LAYERS=1,
        MORE=WEAK,
    )
    assert [line for line in complaints(notebook) if "are held out: left out" not in line] == []
    assert "token_classification: O, B-person, I-person, B-place, I-place" in output["train"]
    assert "on 49 examples" in output["train"]
    assert "student: entity_f1" in output["train"]
    # Tiny random weights give every text nearly the same vector: `before` is near 1 as well. The cells run here.
    # That a student learns vectors, tests/training/test_sentence_vectors.py tests.
    before, after = re.findall(r"vectors, [a-z ]+: (-?\d\.\d+)", output["alike"])
    assert 0 < float(before) <= 1 and float(after) > 0.9
    assert "\n1.00  A man plays the guitar." in output["alike"]

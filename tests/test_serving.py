"""The code in docs/serving.md answers as the model that was exported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distilnlp.models.predictor import Predictor
from distilnlp.run.export import ExportSettings, export_model
from tests.test_docs import ROOT, blocks
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

TEXTS = ["the film was good", "a weak book", "it seems that we saw this awful meal on the red one", "blue"]
NAMES = ("bad", "good", "mixed")


def snippet(language: str, first: str) -> str:
    return next(
        text for text in blocks(ROOT / "docs" / "serving.md", language) if text.splitlines()[0].endswith(first)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the exported model in ``served``; the file that the code asks is here the one in fp32, under its name."""
    folder = tmp_path_factory.mktemp("serving")
    tiny_model("bert", label_names=NAMES, initializer_range=0.3).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    made = export_model(str(folder / "model"), folder / "served", settings=ExportSettings(seconds=0)).folder / "onnx"
    shutil.copyfile(made / "model.onnx", made / "model_quantized.onnx")
    settings = ExportSettings(format="openvino", seconds=0)
    made = export_model(str(folder / "model"), folder / "in_openvino", settings=settings).folder / "openvino"
    shutil.copytree(made, folder / "served" / "openvino")
    for end in (".xml", ".bin"):
        made = folder / "served" / "openvino" / f"openvino_model{end}"
        shutil.copyfile(made, made.with_name(f"openvino_model_qint8_quantized{end}"))
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[str]:
    found = [NAMES[label] for label in Predictor.load(folder / "model").decide(TEXTS)]
    assert len(set(found)) > 1
    return found


def printed(command: list[str], folder: Path, **env: str) -> list[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **env}, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("file", ["ask.py", "ask_openvino.py"])
def test_a_runtime_answers_where_torch_is_not_installed(file: str, folder: Path, expected: list[str]) -> None:
    code = snippet("python", f"# {file}")
    assert len(code.split("\n\n", 1)[1].splitlines()) <= 18
    without = "import sys; sys.modules.update(torch=None, transformers=None, openvino_telemetry=None)\n"
    (folder / file).write_text(without + code)
    assert printed([sys.executable, file, *TEXTS], folder) == expected


def test_a_pipeline_of_transformers_answers(folder: Path, expected: list[str]) -> None:
    (folder / "ask_pipeline.py").write_text(snippet("python", "# ask_pipeline.py"))
    assert printed([sys.executable, "ask_pipeline.py", *TEXTS], folder) == expected


def transformers_js() -> Path | None:
    """Where npm has installed it: in the folder that DISTILNLP_NODE_DIR names."""
    named = os.environ.get("DISTILNLP_NODE_DIR")
    found = Path(named or ".") / "node_modules" / "@huggingface" / "transformers"
    return found.parents[1] if named and found.is_dir() and shutil.which("node") else None


@pytest.mark.skipif(transformers_js() is None, reason="needs node, and DISTILNLP_NODE_DIR with transformers.js in it")
def test_transformers_js_answers_in_node(folder: Path, expected: list[str]) -> None:
    (folder / "node_modules").symlink_to(transformers_js())
    (folder / "ask.mjs").write_text(snippet("js", "// ask.mjs"))
    assert printed(["node", "ask.mjs", *TEXTS], folder) == expected

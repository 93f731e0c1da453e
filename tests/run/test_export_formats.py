"""What holds of an exported folder holds of it in OpenVINO too; tests/run/test_export.py has the rest, in ONNX."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distilnlp.cli import main
from distilnlp.data import load_task
from distilnlp.errors import RequestError, RunError
from distilnlp.hub.files import files_to_push, refuse_secrets
from distilnlp.hub.push import _card
from distilnlp.models.heads import model_from_config
from distilnlp.models.loading import load_classifier
from distilnlp.models.openvino_backend import OpenVinoBackend
from distilnlp.models.predictor import Predictor
from distilnlp.models.sentence_modules import SentenceModules
from distilnlp.openvino_file import read_ir
from distilnlp.problems import get_problem, list_problems
from distilnlp.report.schema import read_report
from distilnlp.run import export
from distilnlp.run.evaluation import evaluate_model
from distilnlp.run.export import Exported, ExportSettings, export_model
from tests.hub_models import TOKEN, start
from tests.hub_server import Repo, hub_server
from tests.models.test_onnx_backend import config
from tests.run.test_export import TEXTS, answered_as_it_does, saved
from tests.test_onnx_file import classifier as onnx_classifier
from tests.test_openvino_file import classifier as openvino_classifier
from tests.tiny import tiny_model, tiny_tokenizer

# To trace a model takes seconds, however small it is.
pytestmark = [pytest.mark.slow(5), pytest.mark.usefixtures("one_trace_a_model")]

QUICK = ExportSettings(format="openvino", seconds=0)
FILES = ("openvino_model", "openvino_model_fp16", "openvino_model_qint8_quantized")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "student")


@pytest.fixture(scope="module")
def data(model: Path) -> Path:
    return answered_as_it_does(model)


@pytest.fixture(scope="module")
def made(model: Path, data: Path) -> Exported:
    """With files in int8 and fp16, measured."""
    settings = replace(QUICK, int8=True, fp16=True, max_drop=0.5, seconds=0.1)
    return export_model(str(model), model.parent / "made", load_task(str(data)), settings)


def test_the_folder_is_laid_out_as_others_look_for_it(made: Exported) -> None:
    found = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    beside = {"config.json", "tokenizer.json", "tokenizer_config.json", "report.json", "README.md"}
    assert found == beside | {f"openvino/{name}{end}" for name in FILES for end in (".xml", ".bin")}


def test_it_gives_the_logits_of_the_model_whatever_the_sizes(model: Path, made: Exported) -> None:
    exported = Predictor.load(made.folder / "openvino" / "openvino_model.xml", batch_size=2)
    assert isinstance(exported.backend, OpenVinoBackend)
    assert exported.backend.columns == {"input_ids", "attention_mask", "token_type_ids"}
    for texts in (TEXTS, TEXTS[:1], [" ".join(TEXTS * 9)]):
        np.testing.assert_allclose(exported.logits(texts), Predictor.load(model).logits(texts), atol=1e-5)


def test_files_stand_side_by_side_with_the_model(made: Exported) -> None:
    rows = {row.stage: row for row in read_report(made.folder / "report.json").stages}
    assert [*rows] == ["pytorch", "openvino-fp32", "openvino-fp16", "openvino-int8"]
    assert rows["pytorch"].score == rows["openvino-fp32"].score == 1.0
    int8 = rows["openvino-int8"].exported
    assert (int8.file, int8.how, int8.opset) == (f"openvino/{FILES[2]}.xml", "static", None)
    assert rows["openvino-fp32"].exported.difference < 1e-4 < int8.difference
    assert {row.cost.dtype for row in rows.values()} == {"float32", "float16", "int8"}
    assert len({rows[f"openvino-{numbers}"].cost.parameters for numbers in ("fp32", "fp16", "int8")}) == 1
    both = sum((made.folder / "openvino" / f"{FILES[0]}{end}").stat().st_size for end in (".xml", ".bin"))
    assert rows["openvino-fp32"].cost.disk_mb == pytest.approx(both / 1e6)


def test_nothing_of_this_machine_is_written_into_a_graph(made: Exported) -> None:
    for name in FILES:
        text = read_ir(made.folder / "openvino" / f"{name}.xml").text
        assert b"modeling_bert" not in text
        assert str(Path.home()).encode() not in text


def test_the_int8_file_stands_for_the_folder_and_is_evaluated(made: Exported, data: Path, capsys) -> None:
    assert Predictor.load(made.folder).backend.dtype == "int8"
    task = load_task(str(data))
    fp32 = evaluate_model(str(made.folder / "openvino" / f"{FILES[0]}.xml"), task)
    assert fp32["validation"][task.main_metric] == 1.0
    assert main(["compare", str(made.folder)]) == 0
    assert "openvino-int8, beside pytorch: accuracy " in capsys.readouterr().out
    assert main(["predict", str(made.folder), "--text", TEXTS[0]]) == 0
    with pytest.raises(RequestError, match="is an exported model, which answers texts and cannot be trained"):
        load_classifier(made.folder)


def test_it_is_ready_to_be_pushed_with_a_card_that_tells_how_it_is_asked(made: Exported) -> None:
    files = files_to_push(made.folder)
    assert {f"openvino/{name}{end}" for name in FILES for end in (".xml", ".bin")} <= set(files)
    refuse_secrets(files, "a message", TOKEN)
    card = _card(files, read_report(files["report.json"]), "ada/film").decode()
    opened = f'openvino.compile_model(hf_hub_download(name, "openvino/{FILES[2]}.xml"), "CPU")'
    assert f'hf_hub_download(name, "openvino/{FILES[2]}.bin")\nmodel = {opened}' in card


def test_the_code_of_the_card_answers(made: Exported, monkeypatch, capsys) -> None:
    card = (made.folder / "README.md").read_text()
    code = card.split("## How to use")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(made.folder)
    exec(compile(code, "card", "exec"), {})
    assert "logits" in capsys.readouterr().out


@pytest.mark.parametrize("name", list_problems())
def test_every_kind_of_task_is_exported(name: str, tmp_path: Path) -> None:
    problem = get_problem(name)
    config = tiny_model("bert", layers=1, initializer_range=0.3).config
    for field, value in problem.config_settings(None).items():
        setattr(config, field, value)
    if problem.vectors:
        config.sentence_modules = SentenceModules(("mean",), normalize=True, max_tokens=64).to_dict()
    torch.manual_seed(0)
    model_from_config(config).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    folder = export_model(str(tmp_path / "model"), tmp_path / "made", settings=QUICK).folder
    texts = [(text,) if 1 in problem.parts else (text, TEXTS[place - 1]) for place, text in enumerate(TEXTS)]
    expected, got = (Predictor.load(each).answered(texts) for each in (tmp_path / "model", folder))
    np.testing.assert_allclose(got.logits, expected.logits, atol=1e-4)
    assert got.example.tolist() == expected.example.tolist()


def in_8_bits(path: Path) -> int:
    return sum(each.get("element_type") == "i8" for each in read_ir(path).net.iter("data"))


def test_layers_stay_in_fp32_until_the_score_holds(model: Path, data: Path, tmp_path: Path, monkeypatch) -> None:
    """The score is made one that falls with each matrix in int8."""

    def falling(predictor: Predictor, task: object, examples: object) -> tuple[None, dict[str, float]]:
        return None, {"accuracy": 1.0 - 0.02 * in_8_bits(predictor.backend.path)}

    monkeypatch.setattr(export, "measured", falling)
    settings = replace(QUICK, int8=True, max_drop=0.28)
    found = export_model(str(model), tmp_path / "new", load_task(str(data)), settings)
    int8 = found.files[-1].exported
    assert len(int8.scores) == len(int8.in_fp32) + 1 > 1
    assert 0 < in_8_bits(found.folder / int8.file) <= 14


def test_what_answers_otherwise_than_the_model_is_not_written(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "PARITY", 0.0)
    with pytest.raises(RunError, match=r"differ from those of .* it is not written; try another --format"):
        export_model(str(model), tmp_path / "new", settings=QUICK)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "tflite"], "unknown format 'tflite': accepted: onnx, openvino"),
        (["--format", "openvino", "--opset", "18"], "opset=18 is for ONNX, and OpenVINO has one file for all"),
        (["--format", "openvino", "--processor", "vnni"], "processor=vnni is for ONNX"),
        (["--format", "openvino", "--sentence-names"], "sentence_names=True is for ONNX"),
        (["--format", "openvino", "--int8"], "there are no held-out examples with labels to score it on"),
    ],
)
def test_options_that_mean_nothing_are_one_line(
    options: list[str], said: str, model: Path, tmp_path: Path, capsys
) -> None:
    assert main(["export", str(model), str(tmp_path / "new"), *options]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("distilnlp: error: ")
    assert said in line
    assert not list(tmp_path.iterdir())


def test_the_missing_extra_is_told_before_anything_is_traced(model: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "nncf" else find(name))
    assert main(["export", str(model), str(tmp_path / "new"), "--format", "openvino"]) == 2
    assert "nncf is not installed" in (said := capsys.readouterr().err)
    assert "pip install 'distilnlp[openvino]'" in " ".join(said.split())


LOAD = """
import sys
from distilnlp.models.load_backend import load_backend
backend = load_backend(sys.stdin.readline().strip())
print(type(backend).__name__, backend.path.name)
"""


@pytest.mark.parametrize(
    ("repo", "said", "fetched"),
    [
        ("both", "OnnxBackend model.onnx", {"onnx/model.onnx"}),
        ("openvino", f"OpenVinoBackend {FILES[0]}.xml", {f"openvino/{FILES[0]}{end}" for end in (".xml", ".bin")}),
    ],
)
def test_of_a_model_on_the_hub_that_is_exported_alone_one_format_is_fetched(
    repo: str, said: str, fetched: set[str], tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    config("no", "yes").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    openvino_classifier(folder / "openvino" / f"{FILES[0]}.xml")
    if repo == "both":
        onnx_classifier(folder / "onnx" / "model.onnx")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with hub_server() as server:
        server.repos["ada/film"] = Repo(private=False, commits=[])
        server.repos["ada/film"].commit("first", files)
        with start(LOAD, tmp_path / "home", HF_ENDPOINT=server.url) as process:
            out, _ = process.communicate("ada/film")
        asked = {line.split()[1].partition("/resolve/")[2].partition("/")[2] for line in server.log if "GET" in line}
    assert out.strip() == said, (tmp_path / "home" / "stderr").read_text()
    assert {name for name in asked if name.startswith(("onnx/", "openvino/"))} == fetched


def test_int8_needs_training_texts_for_its_ranges(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has none: give data with a training part$"):
        export_model(
            str(model), tmp_path / "new", replace(load_task(str(data)), train=None), replace(QUICK, int8=True)
        )
    with pytest.raises(RequestError, match="unknown int8 'dynamic': accepted: static"):
        replace(QUICK, int8="dynamic")

"""An exported model answers as the model that it was made of, whoever asks it, or there is none."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from distilnlp.cli import main
from distilnlp.data import load_task
from distilnlp.errors import RequestError, RunError
from distilnlp.export import graph
from distilnlp.export.tracing import quiet_exporter
from distilnlp.hub.files import files_to_push, refuse_secrets
from distilnlp.hub.push import _card
from distilnlp.models.heads import model_from_config
from distilnlp.models.loading import load_classifier
from distilnlp.models.onnx_backend import OnnxBackend
from distilnlp.models.predictor import Predictor
from distilnlp.models.sentence_modules import SentenceModules
from distilnlp.part import Training
from distilnlp.parts import Int8
from distilnlp.problems import get_problem, list_problems
from distilnlp.report.schema import read_report
from distilnlp.run import export
from distilnlp.run.evaluation import evaluate_model
from distilnlp.run.export import Exported, ExportSettings, export_model
from tests.hub_models import RECORDS, TOKEN, make_run
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer, toy_dataset

# To trace a model takes seconds, however small it is.
pytestmark = [pytest.mark.slow(5), pytest.mark.usefixtures("one_trace_a_model")]

NAMES = ("bad", "good", "mixed")
TEXTS = ["the film was good", "a weak book", "it seems that we saw this awful meal on the red one"]
QUICK = ExportSettings(seconds=0)


def saved(folder: Path, kind: str = "bert", **config: object) -> Path:
    """A model whose answers to two texts are not alike, as those of random weights mostly are."""
    model = tiny_model(kind, **{"label_names": NAMES, "initializer_range": 0.3, **config})
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "student")


def answered_as_it_does(model: Path) -> Path:
    """Texts that are labelled as the model answers them, so that its score is 1.0, and other labels than its order."""
    folder = model.parent / "data"
    folder.mkdir()
    for part, rows in (("train", 40), ("validation", 120)):
        texts = toy_dataset(rows, seed=rows)["text"]
        labels = [NAMES[each] for each in Predictor.load(model).decide(list(texts))]
        lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
        (folder / f"{part}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def data(model: Path) -> Path:
    return answered_as_it_does(model)


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    return export_model(str(model), model.parent / "exported", settings=QUICK).folder


@pytest.fixture(scope="module")
def smaller(model: Path, data: Path) -> Exported:
    """With files in int8 and fp16, measured."""
    settings = ExportSettings(int8="dynamic", fp16=True, max_drop=0.5, seconds=0.1)
    return export_model(str(model), model.parent / "smaller", load_task(str(data)), settings)


def test_the_exporters_leave_the_logging_as_it_was():
    before = [*logging.root.handlers]

    with quiet_exporter():
        logging.root.addHandler(logging.NullHandler())

    assert logging.root.handlers == before


def test_an_exported_model_gives_the_logits_of_the_model(model: Path, exported: Path) -> None:
    expected, got = (Predictor.load(folder, batch_size=2).logits(TEXTS) for folder in (model, exported))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_command_says_where_the_model_is_and_how_much_it_differs(model: Path, capsys) -> None:
    folder = model.parent / "by-command"
    assert main(["export", str(model), str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{model} is in {folder}, as ONNX of opset ")
    below = " ".join(said.split())  # lines are wrapped
    assert "onnx-fp32, beside pytorch: " in below
    assert "logits differ by up to " in below
    assert main(["predict", str(folder), "--text", TEXTS[0]]) == 0
    of_exported = capsys.readouterr().out
    assert main(["predict", str(model), "--text", TEXTS[0]]) == 0
    assert capsys.readouterr().out == of_exported


def test_the_folder_is_laid_out_as_others_look_for_it(exported: Path) -> None:
    found = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    beside = {"config.json", "tokenizer.json", "tokenizer_config.json", "report.json", "README.md"}
    assert found == {*beside, "onnx/model.onnx"}


def test_a_file_of_the_folder_is_a_model_too(exported: Path) -> None:
    assert isinstance(Predictor.load(exported / "onnx" / "model.onnx").backend, OnnxBackend)


def test_nothing_of_this_machine_is_written_into_the_file(exported: Path) -> None:
    content = (exported / "onnx" / "model.onnx").read_bytes()
    assert b"stack_trace" not in content
    assert b"modeling_bert.py" not in content


def test_batches_and_texts_may_have_any_size(exported: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    assert {each.name for each in session.get_inputs()} == {"input_ids", "attention_mask", "token_type_ids"}
    assert all(each.shape == ["batch", "tokens"] for each in session.get_inputs())
    assert session.get_outputs()[0].shape == ["batch", 3]
    for shape in ((1, 1), (1, 64), (7, 3)):
        feed = {each.name: np.ones(shape, np.int64) for each in session.get_inputs()}
        assert session.run(["logits"], feed)[0].shape == (shape[0], 3)


def test_the_runtime_does_not_join_a_normalisation_to_the_addition_before_it(exported: Path, tmp_path: Path) -> None:
    """Joined, ONNX Runtime takes one number after the other: two full layers in int8 take 1.3 times as long."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "as_run.onnx")
    onnxruntime.InferenceSession(exported / "onnx" / "model.onnx", options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "as_run.onnx").graph.node]
    assert "LayerNormalization" in kinds
    assert "SkipLayerNormalization" not in kinds


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_architecture_is_exported_and_quantised(kind: str, data: Path, tmp_path: Path) -> None:
    settings, task = replace(QUICK, int8="dynamic", max_drop=10.0), load_task(str(data))
    made = export_model(str(saved(tmp_path / "model", kind)), tmp_path / "exported", task, settings)
    fp32, int8 = (row.exported for row in made.files)
    assert fp32.difference < 1e-4
    assert int8.in_fp32 == []
    small = in_8_bits(made.folder / int8.file)
    # Albert has the weights of one layer, and its word embeddings are half as wide.
    assert len(small) >= (9 if kind == "albert" else 10)
    assert (made.folder / int8.file).stat().st_size < (made.folder / fp32.file).stat().st_size
    # A student that learns in int8 answers as its file will, but for numbers that lie just between two levels.
    texts = [*task.validation["text"]]
    plain, student = (Predictor.load(tmp_path / "model", device=torch.device("cpu")) for _ in range(2))
    part, learning = Int8(int8.processor), student.backend.pretrained
    part.attach(Training(learning, learning, torch.device("cpu"), 0))
    part.on_pass(0.0)
    expected = Predictor.load(made.folder / int8.file).logits(texts)
    off, moved = (np.square(each.logits(texts) - expected).mean() ** 0.5 for each in (student, plain))
    assert off < 0.2 * moved


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
    folder = export_model(str(tmp_path / "model"), tmp_path / "exported", settings=QUICK).folder
    texts = [(text,) if 1 in problem.parts else (text, TEXTS[place - 1]) for place, text in enumerate(TEXTS)]
    expected, got = (Predictor.load(each).answered(texts) for each in (tmp_path / "model", folder))
    np.testing.assert_allclose(got.logits, expected.logits, atol=1e-4)
    assert got.example.tolist() == expected.example.tolist()


def test_a_smaller_file_stands_for_the_folder(smaller: Exported) -> None:
    backend = Predictor.load(smaller.folder).backend
    assert isinstance(backend, OnnxBackend)
    assert (backend.path.name, backend.dtype) == ("model_quantized.onnx", "int8")
    assert Predictor.load(smaller.folder / "onnx" / "model_fp16.onnx").backend.dtype == "float16"


def test_all_weights_are_quantised_with_the_embeddings(smaller: Exported) -> None:
    model = onnx.load(smaller.folder / "onnx" / "model_quantized.onnx")
    large = [each for each in model.graph.initializer if len(each.dims) == 2 and each.dims[0] > 1]
    assert len(large) > 10
    assert {each.data_type for each in large} == {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}  # the latter: tables


def test_files_stand_side_by_side_with_the_model(smaller: Exported) -> None:
    report = read_report(smaller.folder / "report.json")
    rows = {row.stage: row for row in report.stages}
    assert [*rows] == ["pytorch", "onnx-fp32", "onnx-fp16", "onnx-int8"]
    assert rows["pytorch"].score == rows["onnx-fp32"].score == 1.0
    assert rows["onnx-int8"].score == rows["onnx-int8"].exported.scores[-1] >= 0.5
    assert rows["onnx-int8"].exported.file == "onnx/model_quantized.onnx"
    assert rows["onnx-fp32"].exported.difference < 1e-4 < rows["onnx-int8"].exported.difference
    sizes = [rows[stage].cost.disk_mb for stage in ("onnx-int8", "onnx-fp16", "onnx-fp32")]
    assert sizes == sorted(sizes)
    assert all(row.cost.latency_p50_ms > 0 for row in rows.values())
    assert {row.cost.dtype for row in rows.values()} == {"float32", "float16", "int8"}


def test_the_files_of_a_stage_stand_beside_the_other_models_of_its_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    made = export_model(str(run / "student"), run.parent / "served", settings=QUICK)
    assert [row.stage for row in made.report.stages] == ["teacher", "student", "onnx-fp32"]
    assert made.files[0].exported.of == "student"
    assert "| teacher |" in (made.folder / "README.md").read_text()


def test_the_card_has_the_files_as_rows(smaller: Exported) -> None:
    card = (smaller.folder / "README.md").read_text()
    assert "| onnx-int8 | 1.000 |" in card or "| onnx-int8 | 0." in card
    assert 'session = onnxruntime.InferenceSession(Path(name, "onnx/model_quantized.onnx"))' in card
    assert str(smaller.folder.parent) not in card


def test_an_exported_folder_is_evaluated_whatever_the_order_of_the_labels(
    smaller: Exported, model: Path, data: Path
) -> None:
    task = load_task(str(data))
    assert task.label_names == ("bad", "good", "mixed")
    turned = replace(task, label_names=task.label_names)
    scores = evaluate_model(str(smaller.folder / "onnx" / "model.onnx"), turned)
    assert scores == evaluate_model(str(model), turned)
    assert scores["validation"][task.main_metric] == 1.0


def in_8_bits(path: Path) -> list[str]:
    """The matrices of weights."""
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return [each.name for each in onnx.load(path).graph.initializer if each.data_type in kinds and len(each.dims) == 2]


def test_layers_stay_in_fp32_until_the_score_holds(model: Path, data: Path, tmp_path: Path, monkeypatch) -> None:
    """The score is made one that falls while the embeddings or a part of layer 0 are quantised."""

    def falling(predictor: Predictor, task: object, examples: object) -> tuple[None, dict[str, float]]:
        return None, {"accuracy": 1.0 - 0.02 * len(in_8_bits(predictor.backend.path))}

    monkeypatch.setattr(export, "measured", falling)
    settings = replace(QUICK, int8="dynamic", max_drop=0.2)
    made = export_model(str(model), tmp_path / "new", load_task(str(data)), settings).files[-1].exported
    assert len(made.scores) == len(made.in_fp32) + 1 > 1
    assert set(made.in_fp32) < {
        "embeddings",
        *(f"layer.{layer}.{part}" for layer in (0, 1) for part in ("attention", "intermediate", "output")),
        "pooler.dense",
        "classifier",
    }
    assert 0 < len(in_8_bits(tmp_path / "new" / made.file)) <= 10


def test_nothing_is_written_where_the_score_does_not_hold(
    model: Path, data: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(export, "measured", lambda *_: (None, {"accuracy": 0.5}))
    command = ["export", str(model), str(tmp_path / "new"), "--int8", "--check", str(data)]
    assert main(command) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("distilnlp: error: int8 costs more than 1.0% of the score (1.0000 in fp32)")
    assert "all in int8 0.5000, +" in said
    assert not list(tmp_path.iterdir())


def test_static_int8_takes_its_ranges_from_training_texts(model: Path, data: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, int8="static", max_drop=0.9)
    made = export_model(str(model), tmp_path / "new", load_task(str(data)), settings)
    assert made.files[-1].exported.how == "static"
    nodes = {node.op_type for node in onnx.load(made.folder / "onnx" / "model_quantized.onnx").graph.node}
    assert "QuantizeLinear" in nodes
    assert "DynamicQuantizeLinear" not in nodes
    with pytest.raises(RequestError, match="static int8 takes the ranges of activations from training texts"):
        export_model(str(model), tmp_path / "other", replace(load_task(str(data)), train=None), settings)


@pytest.mark.parametrize("without", ["data", "held-out examples", "labels"])
def test_int8_needs_something_to_be_scored_on(without: str, model: Path, data: Path, tmp_path: Path) -> None:
    task = load_task(str(data))
    if without == "held-out examples":
        task = replace(task, validation=None)
    elif without == "labels":
        task = replace(task, validation=task.validation.remove_columns("label"))
    with pytest.raises(RequestError, match="there are no held-out examples with labels to score it on: give --check"):
        export_model(str(model), tmp_path / "new", None if without == "data" else task, ExportSettings(int8="dynamic"))
    assert not list(tmp_path.iterdir())


def test_the_int8_file_is_named_for_sentence_transformers_where_that_is_asked(
    model: Path, data: Path, tmp_path: Path
) -> None:
    settings = replace(QUICK, int8="dynamic", max_drop=0.9, sentence_names=True, processor="avx2")
    made = export_model(str(model), tmp_path / "new", load_task(str(data)), settings)
    assert {path.name for path in (made.folder / "onnx").iterdir()} == {"model.onnx", "model_quint8_avx2.onnx"}
    assert made.files[-1].exported.processor == "avx2"
    assert Predictor.load(made.folder).backend.dtype == "int8"


def test_weights_of_torch_are_kept_where_that_is_asked(model: Path, tmp_path: Path) -> None:
    made = export_model(str(model), tmp_path / "new", settings=replace(QUICK, keep_weights=True))
    assert load_classifier(made.folder, require_head=True)
    assert Predictor.load(made.folder / "onnx" / "model.onnx").backend.dtype == "float32"


def test_a_task_for_other_labels_is_refused_before_anything_is_traced(
    model: Path, data: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(graph, "trace", None)
    task = replace(load_task(str(data)), label_names=("bad", "good"))
    with pytest.raises(RequestError, match="has 3 outputs and task data needs 2"):
        export_model(str(model), tmp_path / "new", task)


def test_a_new_folder_is_asked_for_before_anything_is_traced(model: Path, exported: Path, monkeypatch) -> None:
    monkeypatch.setattr(graph, "trace", None)
    with pytest.raises(RequestError, match="is there already: give the name of a new folder"):
        export_model(str(model), exported)


def test_exported_folders_are_compared(smaller: Exported, capsys) -> None:
    assert main(["compare", str(smaller.folder)]) == 0
    said = capsys.readouterr().out
    assert "onnx-int8, beside pytorch: accuracy " in said
    assert "smaller on disk" in said


def test_an_exported_folder_is_ready_to_be_pushed(smaller: Exported) -> None:
    files = files_to_push(smaller.folder)
    onnx_files = {f"onnx/{name}.onnx" for name in ("model", "model_quantized", "model_fp16")}
    assert {*files} == {*onnx_files, "config.json", "tokenizer.json", "tokenizer_config.json", *RECORDS} - {
        "recipe.yaml"
    }
    refuse_secrets(files, "a message", TOKEN)
    card = _card(files, read_report(files["report.json"]), "ada/film")
    assert b'session = onnxruntime.InferenceSession(hf_hub_download(name, "onnx/model_quantized.onnx"))' in card


def test_what_answers_otherwise_than_the_model_is_not_written(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "PARITY", 0.0)
    with pytest.raises(RunError, match=r"differ from those of .* by up to .*: it is not written"):
        export_model(str(model), tmp_path / "new", settings=QUICK)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_traced_is_told_in_one_line(tmp_path: Path, monkeypatch) -> None:
    from transformers import BertForSequenceClassification

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return original(self, input_ids, attention_mask, token_type_ids) if input_ids.sum().item() else None

    original = BertForSequenceClassification.forward
    monkeypatch.setattr(BertForSequenceClassification, "forward", forward)
    with pytest.raises(RequestError, match=r"cannot be exported: BertForSequenceClassification is not") as refused:
        export_model(str(saved(tmp_path / "model")), tmp_path / "new")
    assert "\n" not in str(refused.value)
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"opset": 11}, "opset=11: the exporter writes 18 and newer ones"),
        ({"int8": "both"}, "unknown int8 'both': accepted: dynamic, static"),
        ({"processor": "x86"}, "unknown processor 'x86': accepted: vnni, avx2, arm64"),
        ({"max_drop": -0.1}, r"max_drop=-0.1: a share of the score is needed, from 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        ExportSettings(**settings)


def test_an_exported_model_is_not_trained(exported: Path) -> None:
    for name in (exported, exported / "onnx" / "model.onnx"):
        with pytest.raises(RequestError, match=r"is an exported model, .* give the model that it was made of"):
            load_classifier(name)


def test_an_exported_model_has_no_exits(exported: Path) -> None:
    with pytest.raises(RequestError, match="leave the exit threshold out"):
        Predictor.load(exported, exit_threshold=0.5)

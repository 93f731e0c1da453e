"""An exported model answers as the model that it was made of, whoever asks it, or there is none."""

from pathlib import Path

import numpy as np
import pytest

from distilnlp.cli import main
from distilnlp.errors import RequestError, RunError
from distilnlp.models.loading import load_classifier
from distilnlp.models.onnx_backend import OnnxBackend
from distilnlp.models.predictor import Predictor
from distilnlp.run import export
from distilnlp.run.export import ExportSettings, export_model
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow  # to trace a model takes seconds, however small it is

NAMES = ("bad", "good", "mixed")
TEXTS = ["the film was good", "a weak book", "it seems that we saw this awful meal on the red one"]


def saved(folder: Path, kind: str = "bert", **config: object) -> Path:
    """A model whose answers to two texts are not alike, as those of random weights mostly are."""
    model = tiny_model(kind, **{"label_names": NAMES, "initializer_range": 0.3, **config})
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "student")


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    return export_model(str(model), model.parent / "exported").folder


def test_an_exported_model_gives_the_logits_of_the_model(model: Path, exported: Path) -> None:
    expected, got = (Predictor.load(folder, batch_size=2).logits(TEXTS) for folder in (model, exported))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_command_says_where_the_model_is_and_how_much_it_differs(model: Path, capsys) -> None:
    folder = model.parent / "by-command"
    assert main(["export", str(model), str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{model} is in {folder}, as ONNX of opset ")
    assert "its logits differ by " in said
    assert main(["predict", str(folder), "--text", TEXTS[0]]) == 0
    of_exported = capsys.readouterr().out
    assert main(["predict", str(model), "--text", TEXTS[0]]) == 0
    assert capsys.readouterr().out == of_exported


def test_the_folder_is_laid_out_as_others_look_for_it(exported: Path) -> None:
    found = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert found == {"config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"}


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


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_architecture_is_exported(kind: str, tmp_path: Path) -> None:
    made = export_model(str(saved(tmp_path / "model", kind)), tmp_path / "exported")
    assert made.difference < 1e-4


def test_a_new_folder_is_asked_for(model: Path, exported: Path) -> None:
    with pytest.raises(RequestError, match="is there already: give the name of a new folder"):
        export_model(str(model), exported)


def test_what_answers_otherwise_than_the_model_is_not_written(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "PARITY", 0.0)
    with pytest.raises(RunError, match=r"differ from those of .* by up to .*: it is not written"):
        export_model(str(model), tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_traced_is_told_in_one_line(model: Path, tmp_path: Path, monkeypatch) -> None:
    from transformers import BertForSequenceClassification

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return original(self, input_ids, attention_mask, token_type_ids) if input_ids.sum().item() else None

    original = BertForSequenceClassification.forward
    monkeypatch.setattr(BertForSequenceClassification, "forward", forward)
    with pytest.raises(RequestError, match=r"cannot be exported: BertForSequenceClassification is not") as refused:
        export_model(str(model), tmp_path / "new")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_opset_that_is_not_written_is_refused() -> None:
    with pytest.raises(RequestError, match="opset=11: the exporter writes 18 and newer ones"):
        ExportSettings(opset=11)


def test_an_exported_model_is_not_trained(exported: Path) -> None:
    for name in (exported, exported / "onnx" / "model.onnx"):
        with pytest.raises(RequestError, match=r"is an exported model .* give the model that it was made of"):
            load_classifier(name)


def test_an_exported_model_has_no_exits(exported: Path) -> None:
    with pytest.raises(RequestError, match="leave the exit threshold out"):
        Predictor.load(exported, exit_threshold=0.5)

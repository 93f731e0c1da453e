"""A model says which columns it was trained on; what a stranger's config says there is not trusted."""

from pathlib import Path

import pytest
from transformers import AutoConfig, BertConfig

from distilnlp.errors import RequestError
from distilnlp.models.trained_columns import TrainedColumns, check_parts, remember_columns, remembered_columns


@pytest.mark.parametrize(
    "columns",
    [
        TrainedColumns("question", None, "queue"),
        TrainedColumns("a", "b", "same"),
        TrainedColumns("text", None, ("joy", "anger")),
    ],
)
def test_what_is_remembered_is_saved(tmp_path: Path, columns: TrainedColumns) -> None:
    config = BertConfig()
    remember_columns(config, columns)
    config.save_pretrained(tmp_path)
    assert remembered_columns(AutoConfig.from_pretrained(tmp_path)) == columns


def test_most_models_do_not_tell() -> None:
    assert remembered_columns(BertConfig()) is None


@pytest.mark.parametrize(
    "kept",
    [
        "text",
        [],
        {},
        {"text": 1, "text_pair": None, "label": "label"},
        {"text": "text", "text_pair": 3, "label": "label"},
        {"text": "text", "text_pair": None, "label": 3},
        {"text": "text", "text_pair": None, "label": []},
        {"text": "text", "text_pair": None, "label": [None]},
        {"text": "x" * 10_000, "text_pair": None, "label": "label"},
    ],
)
def test_what_names_no_columns_is_ignored_with_a_warning(kept: object, caplog: pytest.LogCaptureFixture) -> None:
    assert remembered_columns(BertConfig(distilnlp_columns=kept)) is None
    assert "names no columns" in caplog.text


def test_a_model_of_pairs_needs_the_second_text(caplog: pytest.LogCaptureFixture) -> None:
    pairs, single = TrainedColumns("premise", "hypothesis", "label"), TrainedColumns("text", None, "label")
    with pytest.raises(
        RequestError, match=r"trained on pairs \(premise and hypothesis\) and is asked of single texts"
    ):
        check_parts(pairs, 1, "model")
    check_parts(pairs, 2, "model")
    check_parts(single, 1, "model")
    check_parts(None, 1, "model")
    assert not caplog.text
    check_parts(single, 2, "model")
    assert "trained on single texts (text) and is asked of pairs" in caplog.text


def test_a_model_that_was_trained_without_labels_remembers_its_texts():
    config = BertConfig()
    remember_columns(config, TrainedColumns("body", None, None))
    assert remembered_columns(config) == TrainedColumns("body", None, None)

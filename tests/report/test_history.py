"""The log of a training is kept beside its model, and stays small."""

import pytest

from distilnlp.errors import RequestError
from distilnlp.report.history import HISTORY, History, read_history, thinned, write_history


def test_what_is_read_is_what_was_written(tmp_path):
    history = History(log=[{"step": 1, "loss": float("nan")}], layers={"hidden_state": [(1, 2)]}, made_of=[2])
    write_history(tmp_path, history)
    got = read_history(tmp_path)
    assert got.layers == history.layers
    assert got.made_of == [2]
    assert str(got.log) == str(history.log)
    assert "NaN" not in (tmp_path / HISTORY).read_text().replace('"NaN"', "")


def test_a_stage_of_an_older_version_has_none(tmp_path):
    assert read_history(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"log": 1}', '{"version": 99}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / HISTORY).write_text(text)
    with pytest.raises(RequestError, match=r"history\.json' (cannot be read|is of version 99)"):
        read_history(tmp_path)


def test_a_long_log_is_thinned_to_means_and_every_evaluation_stays():
    log = [{"step": step, "loss": float(step), "epoch": 0.5} for step in range(1, 10_001)]
    log += [{"step": step, "eval_accuracy": step / 1e4} for step in range(100, 10_001, 100)]
    kept = thinned(log, most=1000)
    losses = [line for line in kept if "loss" in line]
    assert len(losses) == 1000
    assert losses[0] == {"step": 10, "loss": 5.5, "epoch": 0.5}
    assert len([line for line in kept if "eval_accuracy" in line]) == 100
    assert [line["step"] for line in kept] == sorted(line["step"] for line in kept)


def test_what_is_no_number_is_not_kept():
    assert thinned([{"step": 1, "loss": 1, "note": "x"}, {"loss": 2.0}]) == [{"step": 1.0, "loss": 1.0}]

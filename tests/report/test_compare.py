"""The side-by-side table: what it shows, what it leaves open, and how wide it gets."""

import re

import pytest

from distilnlp.errors import RequestError
from distilnlp.report.compare import (
    compare_runs,
    exported_lines,
    markdown_table,
    relative_lines,
    render_table,
    verdicts,
)
from distilnlp.report.schema import Cost, Fidelity, Report, StageResult, to_json

HOW = {"threads": 2, "device": "cpu", "dtype": "float32"}


def row(stage, role, score, **more):
    return StageResult.model_validate({"stage": stage, "role": role, "score": score, "main_metric": "f1", **more})


def changed(result, **keys):
    return StageResult.model_validate({**result.model_dump(), **keys})


def cost(parameters, p50, throughput):
    return {
        "parameters": parameters,
        "parameters_without_embeddings": parameters // 2,
        "disk_mb": parameters * 4 / 1e6,
        "latency_p50_ms": p50,
        "latency_p95_ms": p50 * 1.25,
        "throughput_per_s": throughput,
        **HOW,
    }


ROWS = [
    row("teacher", "teacher", 0.9, cost=cost(22_714_371, 10.0, 300.0), fidelity=None),
    row("control", "control", 0.85, cost=cost(17_390_979, 5.0, 590.0), fidelity={"agreement": 0.91, "kl": 0.2}),
    row("student", "student", 0.88, cost=cost(17_390_979, 5.0, 600.0), fidelity={"agreement": 0.95, "kl": 0.1}),
]


def test_table_shows_each_number_under_its_heading():
    header, _, teacher, _, student = [line.split() for line in render_table(ROWS).splitlines()[:5]]
    assert header == ["model", "f1", "params", "w/o", "emb.", "MB", "ms", "p50/p95", "texts/s", "agreement"]
    assert teacher == ["teacher", "0.900", "22.7M", "11.4M", "90.9", "10.0/12.5", "300", "-"]
    assert student == ["student", "0.880", "17.4M", "8.7M", "69.6", "5.0/6.2", "600", "0.950"]


def test_columns_of_the_table_end_where_their_headings_end():
    lines = render_table(ROWS).splitlines()[:5]
    assert len({len(line) for line in lines}) == 1
    assert all(line[lines[0].index("params") - 1] == " " for line in lines)


def test_students_are_said_relative_to_the_teacher_and_the_control():
    control, student = relative_lines(ROWS)
    assert student == (
        "student: keeps 97.8 % of the teacher's f1, +0.030 f1 over the control, 2.00x faster at batch 1, "
        "2.00x the texts/s, 1.31x smaller"
    )
    assert control.startswith("control: keeps 94.4 %")
    assert "over the control" not in control


def test_an_exported_file_is_said_beside_its_model_also_where_it_is_slower():
    made = {"file": "onnx/model.onnx", "of": "student", "opset": 18, "difference": 1e-6, "compared": 64}
    slower = {**cost(17_390_979, 10.0, 300.0), "disk_mb": 17.4}
    (line,) = exported_lines([*ROWS, row("onnx-int8", None, 0.87, cost=slower, exported=made)])
    assert line == (
        "onnx-int8, beside student: f1 -0.0100, 0.50x faster at batch 1, 0.50x the texts/s, 4.00x smaller on disk, "
        "logits differ by up to 1.0e-06 on 64 texts"
    )


def test_shares_that_mean_nothing_are_not_said():
    """Half the error is not half as good, and a share of a correlation of 0 has no value."""
    errors = [changed(r, main_metric="mse") for r in ROWS]
    assert not any("keeps" in line for line in relative_lines(errors))
    useless = [changed(ROWS[0], score=0.0), *ROWS[1:]]
    assert not any("keeps" in line for line in relative_lines(useless))


def test_missing_values_are_dashes_and_nothing_is_said_of_them():
    text = render_table([StageResult(stage="a", role="teacher"), StageResult(stage="b", role="student", cost=Cost())])
    lines = text.splitlines()
    assert lines[2].split() == ["a", "(teacher)", *["-"] * 7]
    assert len(lines) == 4


def test_a_number_that_is_none_or_not_finite_is_shown_as_it_is():
    lines = render_table([row("a", "teacher", float("nan"), cost={"disk_mb": None})]).splitlines()
    assert lines[2].split()[2:5] == ["nan", "-", "-"]


def test_the_table_says_how_it_was_measured():
    text = render_table(ROWS)
    assert "batches of 32; without tokenising, on cpu, 2 threads, float32." in text
    assert "agreement: share of equal answers; kappa: what of it is not chance (0 is none, 1 all)." in text
    regression = render_table(
        [row("a", "student", 0.8, problem_type="regression", fidelity={"agreement": 0.9, "mae": 0.1})]
    )
    assert "agreement: Pearson correlation with the teacher (0 is what chance gives)." in regression
    assert "share of equal answers" not in regression


def test_the_table_fits_100_columns_at_its_widest():
    widest = cost(999_900_000, 99999.4, 1e6)
    rows = [
        changed(
            with_baseline(r, 0.5, -0.1, 0.2),
            run=run,
            stage=f"{r.stage}-with-a-very-long-name",
            main_metric=metric,
            cost=widest,
            fidelity={"agreement": 0.5, "kappa": -0.25},
        )
        for run in ("a-run-with-a-very-long-name", "b")
        for metric in ("matthews_correlation", "micro_f1")
        for r in ROWS
    ]
    for some in (rows, rows[:3]):
        assert max(map(len, render_table(some).splitlines())) <= 100


def test_scores_on_other_examples_are_not_set_against_each_other():
    """A teacher that was trained and measured on a larger set: the table has its score, and no share of it."""
    other = changed(ROWS[0], held_out="other")
    text = " ".join(render_table([other, *ROWS[1:]]).split())
    assert "of the teacher's f1" not in text and "over the control" in text
    assert "faster at batch 1" in text
    assert "on other held-out examples than the last model, so not to be compared with it: teacher." in text
    own = changed(ROWS[0], stage="again", score=0.88)
    assert "student: keeps 100.0 % of the teacher's f1" in " ".join(render_table([other, own, *ROWS[1:]]).split())
    assert "other held-out" not in render_table(ROWS)


def with_baseline(result, score, low, high):
    gain = {"answer": "the largest class of the training rows", "score": score, "gain": (low, high), "rows": 600}
    return changed(result, baseline=gain)


def test_what_needs_no_text_is_one_more_row_of_its_run():
    rows = [with_baseline(r, 0.6, 0.1, 0.3) for r in ROWS]
    text = render_table(rows)
    assert text.splitlines()[5].split() == ["baseline", "0.600", *["-"] * 6]
    assert text.count("baseline  ") == 1
    assert "baseline: the largest class of the training rows, whatever the text is." in text
    assert markdown_table(rows).splitlines()[5].startswith("| baseline | 0.600 | - |")
    assert "learned nothing" not in text
    runs = [changed(r, run=run) for run in "ab" for r in rows]
    assert [line.split()[0] for line in render_table(runs).splitlines()[2:10]][3::4] == ["a/baseline", "b/baseline"]


def test_models_on_other_examples_have_baselines_of_their_own():
    other = changed(with_baseline(ROWS[0], 0.5, 0.1, 0.3), held_out="other")
    lines = render_table([other, with_baseline(ROWS[2], 0.6, 0.1, 0.3)]).splitlines()
    assert [line.split()[:4] for line in lines[4:6]] == [
        ["baseline", "(teacher)", "0.500", "-"],
        ["baseline", "(student)", "0.600", "-"],
    ]


def test_who_is_not_above_the_baseline_is_named_before_anything_else_is_said():
    rows = [with_baseline(ROWS[0], 0.6, 0.1, 0.3), with_baseline(ROWS[1], 0.84, -0.01, 0.03), ROWS[2]]
    (said,) = verdicts(rows)
    assert said == (
        "control: has learned nothing that shows: f1 0.850 on 600 held-out rows is not above the 0.840 of the baseline"
        " (the largest class of the training rows, whatever the text is; 95 % interval of the gain -0.010 to +0.030)"
    )
    below = render_table(rows).partition("\n\n")[2]
    assert " ".join(below.split()).startswith(said)


def test_agreement_has_beside_it_what_of_it_is_not_chance():
    rows = [ROWS[0], *(changed(r, fidelity={"agreement": 1.0, "kappa": 0.25, "kl": 0.1}) for r in ROWS[1:])]
    lines = render_table(rows).splitlines()
    assert lines[0].split()[-1] == "agree/kappa"
    assert [line.split()[-1] for line in lines[2:5]] == ["-", "1.000/0.250", "1.000/0.250"]


def test_different_metrics_are_named_at_their_scores():
    text = render_table([ROWS[0], changed(ROWS[1], main_metric="matthews_correlation")])
    assert "0.900 f1" in text
    assert "0.850 MCC" in text


def test_markdown_has_the_same_cells_and_survives_a_bar():
    lines = markdown_table([*ROWS, row("a|b", "student", 0.5)]).splitlines()
    assert lines[0] == "| model | f1 | params | w/o emb. | MB | ms p50/p95 | texts/s | agreement |"
    assert lines[1].startswith("| :--- | ---: |")
    assert lines[4] == "| student | 0.880 | 17.4M | 8.7M | 69.6 | 5.0/6.2 | 600 | 0.950 |"
    assert lines[5].startswith(r"| a\|b (student) | 0.500 |")


def test_no_rows_are_refused():
    with pytest.raises(RequestError, match="nothing to show"):
        render_table([])


def write_run(folder, rows):
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(to_json(Report(task="mrpc", main_metric="f1", stages=rows)))
    return folder


def test_runs_are_compared_each_with_its_own_teacher(tmp_path):
    other = [changed(ROWS[0], score=0.8), changed(ROWS[2], score=0.4)]
    rows = compare_runs([write_run(tmp_path / "one", ROWS), write_run(tmp_path / "two", other)])
    assert [(r.run, r.stage) for r in rows][2:4] == [("one", "student"), ("two", "teacher")]
    text = render_table(rows)
    assert "one/student" in text
    assert "two/student: keeps 50.0 %" in text


def test_a_single_run_is_not_named_in_every_row(tmp_path):
    text = render_table(compare_runs([write_run(tmp_path / "one", ROWS)]))
    assert text.splitlines()[2].startswith("teacher ")


def test_runs_of_one_name_stay_apart(tmp_path):
    folders = [write_run(tmp_path / part / "mrpc", ROWS) for part in "ab"]
    assert {r.run for r in compare_runs(folders)} == {str(folder) for folder in folders}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no report.json"),
        ("{", "is not valid JSON"),
        ("[]", "lists no stages"),
        ('{"stages": []}', "lists no stages"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(RequestError, match=message) as error:
        compare_runs([tmp_path])
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RequestError, match="is not a folder"):
        compare_runs([tmp_path / "none"])
    with pytest.raises(RequestError, match="at least one run"):
        compare_runs([])


def test_no_name_adds_a_cell_a_line_or_a_colour():
    rows = [row.model_copy(update={"stage": f"a|b\n\x1b[31m`{row.stage}"}) for row in ROWS]
    lines = markdown_table(rows).splitlines()
    cells = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
    assert len(lines) == 2 + len(rows)
    assert len(cells) == 1
    shown = render_table(rows)
    assert len(shown.split("\n\n")[0].splitlines()) == 2 + len(rows)
    assert "\x1b" not in shown


def test_without_labels_a_model_is_judged_by_its_agreement():
    """No score is made up: the column is gone, and a kappa that is not above 0 is told."""
    collapsed = StageResult(stage="s", role="student", fidelity=Fidelity(agreement=0.4, kappa=0.0, kl=0.5))
    close = StageResult(stage="t", role="student", fidelity=Fidelity(agreement=0.9, kappa=0.8, kl=0.1))
    table = " ".join(render_table([StageResult(stage="x", role="teacher"), collapsed, close]).split())

    assert "score" not in table
    assert "s (student): has learned nothing that shows: its agreement of 0.400 with the teacher" in table
    assert "t (student): agreement 0.900 with the teacher (kappa 0.800, kl 0.100)" in table
    assert "t (student): has learned nothing" not in table

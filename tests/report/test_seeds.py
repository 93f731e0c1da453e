"""Means, deviations and intervals over seeds, and what the table says of them."""

import json

import numpy as np
import pytest
from scipy import stats

from distilnlp.report.card import render_card
from distilnlp.report.compare import compare_runs, footnotes, markdown_table, relative_lines, render_table, verdicts
from distilnlp.report.schema import Report, StageResult, read_report, to_json
from distilnlp.report.seeds import averaged, gain_interval, half_width, of_one_seed, over_seeds, spread

RECIPE = {
    "seed": 42,
    "seeds": [1, 2, 3],
    "stages": {
        "teacher": {"model": "start"},
        "control": {"student": {"from": "teacher"}},
        "student": {"teacher": "teacher", "student": {"from": "teacher"}},
    },
}
SCORES = {"control": (0.80, 0.82, 0.81), "student": (0.82, 0.83, 0.84)}


def row(stage, role, score, **more):
    measured = {"score": score, "main_metric": "f1", "metrics": {"f1": score, "accuracy": score / 2}}
    return StageResult.model_validate({"stage": stage, "role": role, "held_out": "x", **measured, **more})


def rows(scores=SCORES, **more):
    made = [row("teacher", "teacher", 0.9)]
    for place, seed in enumerate((1, 2, 3)):
        for stage in scores:
            named = {"stage": stage} if place == 0 else {"stage": f"{stage}-seed-{seed}", "repeats": stage}
            score = scores[stage][place]
            agreement = {"fidelity": {"agreement": score, "kappa": score / 2}}
            made.append(row(role=stage, score=score, seed=seed, **agreement, **named, **more))
    return over_seeds(made)


def test_a_deviation_is_that_of_a_sample():
    found = spread([1.0, 2.0, 4.0])
    assert (found.mean, found.deviation) == pytest.approx((7 / 3, (7 / 3) ** 0.5))


def test_the_interval_is_students_of_paired_differences():
    differences = [0.02, 0.01, 0.03]
    assert gain_interval(differences) == pytest.approx((0.02 - 0.0248414, 0.02 + 0.0248414), abs=1e-7)
    own, other = [0.82, 0.83, 0.84], [0.80, 0.82, 0.81]
    theirs = stats.ttest_rel(own, other).confidence_interval(0.95)
    assert gain_interval(differences) == pytest.approx((theirs.low, theirs.high))
    assert half_width(3) == pytest.approx(2.4841, abs=1e-4) and half_width(10) == pytest.approx(0.7154, abs=1e-4)


def test_the_interval_covers_at_its_level():
    drawn = np.random.default_rng(0).normal(0.3, 2.0, (3000, 3))
    ends = [gain_interval(each) for each in drawn.tolist()]
    assert np.mean([low <= 0.3 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.012)


def test_the_row_of_the_first_seed_tells_what_all_of_them_give():
    by_name = {each.stage: each for each in rows()}
    assert [name for name, each in by_name.items() if each.over_seeds] == ["control", "student"]
    found = by_name["student"].over_seeds
    assert found.seeds == [1, 2, 3] and found.stages == ["student", "student-seed-2", "student-seed-3"]
    assert found.scores == [0.82, 0.83, 0.84]
    assert (found.score.mean, found.score.deviation) == pytest.approx((0.83, 0.01))
    assert found.metrics["accuracy"].mean == pytest.approx(0.415)
    assert (found.fidelity.agreement, found.fidelity.kappa) == pytest.approx((0.83, 0.415))
    assert found.gain.control == "control" and found.gain.differences == pytest.approx([0.02, 0.01, 0.03])
    assert found.gain.interval == pytest.approx(gain_interval([0.02, 0.01, 0.03]))
    assert by_name["control"].over_seeds.gain is None
    assert by_name["student"].score == 0.82, "a row is of its own model"


def test_other_examples_are_not_paired_and_texts_without_labels_have_no_score():
    made = rows()
    other = [each.model_copy(update={"held_out": "y"}) if each.role == "control" else each for each in made]
    assert over_seeds(other)[2].over_seeds.gain is None
    unknown = [each.model_copy(update={"score": None, "metrics": {}}) for each in made]
    found = over_seeds(unknown)[2].over_seeds
    assert found.score is None and found.scores == [] and found.gain is None and found.fidelity is not None
    assert "3 seeds 1, 2, 3" in " ".join(render_table(over_seeds(unknown)).split())


def test_one_row_stands_for_all_seeds():
    shown = averaged(rows())
    assert [each.stage for each in shown] == ["teacher", "control", "student"]
    assert shown[2].score == pytest.approx(0.83) and shown[2].metrics["accuracy"] == pytest.approx(0.415)
    assert averaged(shown) == shown


def test_the_table_has_means_and_deviations():
    lines = render_table(rows()).splitlines()
    assert [line.split()[:2] for line in lines[2:5]] == [
        ["teacher", "0.900"],
        ["control", "0.810±0.010"],
        ["student", "0.830±0.010"],
    ]
    assert max(map(len, lines)) <= 100
    assert "0.830±0.010" in markdown_table(rows())
    told = relative_lines(rows())
    assert "+0.020 f1 over the control (95 % interval over 3 seeds -0.005 to +0.045, with 0 in it)" in told[-1]
    assert "keeps 92.2 % of the teacher's f1" in told[-1]
    notes = "\n".join(footnotes(rows()))
    assert "student: 3 seeds: f1 0.820 (1), 0.830 (2), 0.840 (3)." in notes
    assert "reaches 2.5 deviations" in notes and "of 5 and 10 it would reach 1.2 and 0.7" in notes


def test_a_table_of_several_metrics_stays_within_its_width():
    cost = {"parameters": 17_390_979, "parameters_without_embeddings": 5_000_000, "disk_mb": 169.6}
    cost |= {"latency_p50_ms": 1000.0, "latency_p95_ms": 1250.0, "throughput_per_s": 59000.0}
    made = rows(main_metric="matthews_correlation", cost=cost)
    made[1:] = [each.model_copy(update={"stage": f"a-very-long-name-of-a-{each.stage}"}) for each in made[1:]]
    assert max(map(len, render_table(over_seeds(made)).splitlines())) <= 100


def test_a_gain_above_the_noise_is_told_without_a_word():
    scores = {"control": (0.80, 0.82, 0.81), "student": (0.90, 0.92, 0.911)}
    assert "(95 % interval over 3 seeds +0.099 to +0.102)" in relative_lines(rows(scores))[-1]


def test_seeds_that_learned_nothing_share_a_line():
    weak = {"answer": "no", "score": 0.9, "gain": (-0.2, 0.1), "rows": 9}
    found = verdicts(rows(baseline=weak))
    assert [line.partition(":")[0] for line in found] == ["control (with 3 of 3 seeds)", "student (with 3 of 3 seeds)"]


def test_an_exported_model_is_shown_without_the_other_seeds():
    found = of_one_seed(rows(), "student-seed-2")
    assert [(each.stage, each.over_seeds, each.repeats) for each in found] == [
        ("teacher", None, None),
        ("control-seed-2", None, None),
        ("student-seed-2", None, None),
    ]
    assert of_one_seed(rows(), "teacher") == rows()


def test_a_report_keeps_all_of_it(tmp_path):
    report = Report(name="films", task="films", stages=rows(), recipe=RECIPE, main_metric="f1")
    (tmp_path / "report.json").write_text(to_json(report))
    assert read_report(tmp_path / "report.json") == report
    assert [each.run for each in averaged(compare_runs([tmp_path]))] == [tmp_path.name] * 3


def test_a_report_of_before_is_read(tmp_path):
    """What is of several seeds is left out of it, and no version changes."""
    report = Report(name="films", task="films", stages=[row("teacher", "teacher", 0.9)])
    values = json.loads(to_json(report))
    for key in ("seed", "repeats", "over_seeds"):
        assert values["stages"][0].pop(key) is None
    (tmp_path / "report.json").write_text(json.dumps(values))
    assert read_report(tmp_path / "report.json") == report


def test_runs_with_seeds_stand_beside_runs_without(tmp_path):
    for name, stages in (("several", rows()), ("one", [row("student", "student", 0.7)])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(to_json(Report(stages=stages)))
    shown = render_table(compare_runs([tmp_path / "several", tmp_path / "one"]))
    assert "0.830±0.010" in shown and "0.700" in shown and "seed-2" not in shown


@pytest.mark.parametrize(("stage", "own", "others"), [("student", "1", "2, 3"), ("student-seed-2", "2", "1, 3")])
def test_a_card_is_of_one_model_and_says_which(stage, own, others):
    """What the Hub lists is the score of the weights that are there, not a mean that they do not have."""
    report = Report(name="films", task="films", stages=rows(), recipe=RECIPE, main_metric="f1")
    card = render_card(report, stage=stage)
    score = report.stage(stage).score
    assert f"value: {score}" in card and "0.830±0.010" in card
    assert f"- Seed: {own}, one of 3: the table has the means" in card
    assert f"with the seeds {others}" in card
    assert "means over 3 seeds" in card and "come from one training run" not in card
    assert "- Teacher: start" in card.replace("`", "")
    assert "student, 3 seeds" in card

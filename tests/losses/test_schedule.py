"""Weights and temperatures that change while the student trains."""

import math
from typing import Any

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import VID, HardLabel, InfoNCE, LogitMSE, MiniLMv2, Objective, Schedule, SoftTarget
from tests.losses.cases import Case, outputs


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_it_starts_at_its_start_and_ends_at_its_end(kind: Any) -> None:
    schedule = Schedule(kind, 8.0, 1.0)
    assert (schedule.at(0.0), schedule.at(0.5), schedule.at(1.0)) == (8.0, pytest.approx(4.5), 1.0)


def test_the_kinds_are_those_of_their_formulas() -> None:
    assert Schedule("constant", 3.0).at(0.4) == 3.0
    assert Schedule("linear", 8.0, 1.0).at(0.25) == 8 - 7 * 0.25
    assert Schedule("cosine", 8.0, 1.0).at(0.25) == pytest.approx(1 + 7 * (1 + math.cos(math.pi / 4)) / 2)


def test_a_weight_rises_in_the_warm_up_moves_until_its_end_and_is_0_from_then_on() -> None:
    schedule = Schedule("linear", 2.0, 1.0, until=0.8, warmup=0.2)
    values = [schedule.at(share) for share in (0.0, 0.1, 0.2, 0.5, 0.7999999, 0.8, 0.9)]
    assert values == pytest.approx([0.0, 1.0, 2.0, 1.5, 1.0, 0.0, 0.0], abs=1e-6)
    assert values[-2:] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("key", "value"), [("schedule", "cosine"), ("start", 2.0), ("end", 0.5), ("until", 0.9), ("warmup", 0.6)]
)
def test_each_key_of_a_recipe_changes_the_weight(key: str, value: object) -> None:
    spec: dict[str, object] = {"schedule": "linear", "start": 1.0, "end": 0.0, "until": 0.8, "warmup": 0.1}
    assert Schedule.from_dict({**spec, key: value}).at(0.3) != Schedule.from_dict(spec).at(0.3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"schedule": "linea", "start": 1.0, "end": 0.0}, "unknown schedule 'linea': did you mean 'linear'"),
        ({"schedule": "linear", "start": 1.0, "ende": 0.0}, "unknown key 'ende' of a schedule: did you mean 'end'"),
        ({"start": 1.0}, "needs the key 'schedule'"),
        ({"schedule": "linear", "end": 1.0}, "needs the key 'start'"),
        ({"schedule": "linear", "start": 1.0}, "a linear schedule needs an end"),
        ({"schedule": "constant", "start": 1.0, "end": 0.0}, "end has no meaning"),
        ({"schedule": "constant", "start": "1"}, "start of a schedule must be a finite number; got '1'"),
        ({"schedule": "constant", "start": math.nan}, "start of a schedule must be a finite number"),
        ({"schedule": "constant", "start": 1.0, "until": 0.0}, "until is a share"),
        ({"schedule": "constant", "start": 1.0, "until": 80}, "until is a share"),
        ({"schedule": "constant", "start": 1.0, "until": 0.5, "warmup": 0.5}, "warmup is a share"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(spec: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Objective.from_dict({"hard_label": {}, "soft_target": {"weight": spec}})


BATCH = {"labels": torch.tensor([0, 1, 2, 0])}


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.79])
def test_weight_and_temperature_are_those_of_the_moment(progress: float) -> None:
    spec = {
        "hard_label": {"weight": 0.5},
        "soft_target": {
            "weight": {"schedule": "linear", "start": 1.0, "end": 0.0, "until": 0.8},
            "temperature": {"schedule": "cosine", "start": 8.0, "end": 1.0},
        },
    }
    student, teacher = outputs(0), outputs(1)
    total, raw = Objective.from_dict(spec)(student, teacher, BATCH, progress=progress)
    temperature = 1 + 7 * (1 + math.cos(math.pi * progress)) / 2
    torch.testing.assert_close(raw["soft_target"], SoftTarget(temperature)(student, teacher, BATCH))
    expected = 0.5 * HardLabel()(student, None, BATCH) + (1 - progress / 0.8) * raw["soft_target"]
    torch.testing.assert_close(total, expected)


DOWN = Schedule("linear", 1.0, 0.0)


def test_python_says_the_same_as_a_recipe() -> None:
    cooling = {"schedule": "linear", "start": 8.0, "end": 1.0}
    weight = {"schedule": "linear", "start": 1.0, "end": 0.0}
    written = Objective.from_dict({"hard_label": {}, "soft_target": {"weight": weight, "temperature": cooling}})
    said = Objective(
        [(1.0, HardLabel()), (DOWN, SoftTarget(), {"temperature": Schedule("linear", 8.0, 1.0)})],
    )
    assert said.terms == written.terms
    assert repr(said) == repr(written) and "Schedule(kind='linear', start=8.0" in repr(said)


def test_a_term_at_weight_0_is_not_computed_and_its_teacher_not_asked() -> None:
    """I12, step by step: the term would fail on outputs that it cannot compare."""
    stopped = Schedule("constant", 1.0, until=0.4)
    objective = Objective([(1.0, HardLabel()), (stopped, SoftTarget())])
    assert objective.uses_teacher_at(0.39) and not objective.uses_teacher_at(0.4)
    total, raw = objective(outputs(0), None, BATCH, progress=0.4)
    assert list(raw) == ["hard_label", "soft_target"] and raw["soft_target"] == 0.0
    torch.testing.assert_close(total, HardLabel()(outputs(0), None, BATCH))
    with pytest.raises(RequestError, match="there is none"):
        objective(outputs(0), None, BATCH, progress=0.39)


@pytest.mark.parametrize(
    ("weights", "stops"),
    [
        ((1.0, 1.0), False),
        ((1.0, Schedule("linear", 2.0, 1.0)), False),
        ((1.0, DOWN), True),
        ((1.0, Schedule("constant", 1.0, warmup=0.1)), True),
        ((1.0, Schedule("constant", 1.0, until=0.9)), True),
    ],
)
def test_an_objective_knows_whether_a_term_is_ever_left_out(weights: tuple[Any, Any], stops: bool) -> None:
    """DistributedDataParallel would wait for the gradient of what nothing trains at that step."""
    objective = Objective([(weights[0], HardLabel()), (weights[1], SoftTarget())])
    assert objective.stops_terms is stops


@pytest.mark.parametrize(
    ("first", "second", "when"),
    [
        (Schedule("constant", 1.0, until=0.6), Schedule("constant", 1.0, until=0.5), "60%"),
        (Schedule("constant", 1.0, warmup=0.1), Schedule("linear", 0.0, 1.0), "0%"),
    ],
)
def test_weights_that_are_all_0_at_a_time_are_refused(first: Schedule, second: Schedule, when: str) -> None:
    with pytest.raises(RequestError, match=f"every weight is 0 when {when} of the training is over"):
        Objective([(first, HardLabel()), (second, SoftTarget())])


@pytest.mark.parametrize(
    ("loss", "key", "schedule", "message"),
    [
        (SoftTarget(), "temperature", DOWN, "end of the schedule of temperature: temperature must be positive"),
        (SoftTarget(), "temperature", Schedule("linear", -1.0, 1.0), "start of the schedule of temperature"),
        (SoftTarget(), "temperature", Schedule("constant", 1.0, until=0.5), "until is for weights"),
        (SoftTarget(), "temperature", Schedule("constant", 1.0, warmup=0.5), "warmup is for weights"),
        (SoftTarget(), "temprature", DOWN, "did you mean 'temperature'"),
        (InfoNCE(), "queue", DOWN, "queue of info_nce is no number that can change by degrees: .* temperature"),
        (LogitMSE(), "center", DOWN, "center of logit_mse is no number"),
        (VID(), "variance", Schedule("linear", 5.0, 1.0), "variance of vid is read once"),
    ],
)
def test_a_setting_that_cannot_have_the_schedule_is_refused(
    loss: Any, key: str, schedule: Schedule, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        Objective([(1.0, loss, {key: schedule})])


@pytest.mark.parametrize("start", [-1.0, -0.1])
def test_a_weight_is_never_negative(start: float) -> None:
    with pytest.raises(RequestError, match="weight of soft_target"):
        Objective([(1.0, HardLabel()), (Schedule("linear", start, 1.0), SoftTarget())])


def test_a_weight_that_is_0_throughout_is_left_out() -> None:
    objective = Objective([(1.0, HardLabel()), (Schedule("constant", 0.0), SoftTarget())])
    assert [term.name for term in objective] == ["hard_label"] and not objective.uses_teacher


def test_what_is_needed_at_the_end_is_captured_from_the_start() -> None:
    case = Case("x")
    loss = MiniLMv2(value_weight=0.0, relation_heads=4)
    later = Objective([(1.0, loss, {"value_weight": Schedule("linear", 0.0, 1.0)})]).resolve(case.info(), case.info())
    assert not Objective([(1.0, loss)]).resolve(case.info(), case.info()).needs_student().values
    assert later.needs_student().values and later.needs_teacher().values

"""The loss between logits that fits the problem."""

import pytest

from distilnlp.losses import LogitMSE, Objective, Response, Schedule, SoftTarget, get_loss
from tests.losses.cases import Case


@pytest.mark.parametrize(
    ("problem_type", "name"),
    [
        ("single_label_classification", "soft_target"),
        ("regression", "logit_mse"),
        ("multi_label_classification", "bernoulli_soft_target"),
    ],
)
def test_response_becomes_the_loss_that_fits_the_head(
    problem_type: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case("x", problem_type=problem_type)
    (term,) = Objective([(1.0, Response())]).resolve(case.info(), case.info())
    assert (term.name, term.loss) == (name, get_loss(name))
    if problem_type == "regression":
        assert Response(4.0).resolve(case.info(), case.info()) == LogitMSE()
        assert "temperature=4 is not used" in caplog.text
    else:
        assert Response(4.0).resolve(case.info(), case.info()) == get_loss(name, temperature=4.0)


DOWN = Schedule("linear", 1.0, 0.0)


def test_response_hands_its_temperature_to_the_loss_that_it_becomes(caplog: pytest.LogCaptureFixture) -> None:
    objective = Objective([(DOWN, Response(), {"temperature": Schedule("linear", 8.0, 2.0)})])
    case, number = Case("x"), Case("x", problem_type="regression")
    (term,) = objective.resolve(case.info(), case.info())
    assert term.loss_at(0.5) == SoftTarget(5.0) and term.weight_at(0.5) == 0.5
    (term,) = objective.resolve(number.info(), number.info())
    assert term.loss == get_loss("logit_mse") and term.scheduled == {"weight": DOWN}
    assert "temperature=8 is not used" in caplog.text

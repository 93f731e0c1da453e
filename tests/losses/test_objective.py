"""The weighted sum of losses."""

from dataclasses import dataclass

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import (
    HardLabel,
    HiddenState,
    LogitMSE,
    Objective,
    Schedule,
    SoftTarget,
    get_loss,
    list_losses,
    register_loss,
)
from distilnlp.losses.base import Loss
from distilnlp.outputs import ModelInfo, Needs
from tests.losses.cases import Case, outputs

BATCH = {"labels": torch.tensor([0, 1, 2, 0])}


def test_the_total_is_the_weighted_sum_and_each_term_is_named() -> None:
    student, teacher = outputs(0), outputs(1)
    objective = Objective([(0.25, HardLabel()), (2.0, SoftTarget()), (3.0, LogitMSE()), (0.5, LogitMSE(center=True))])
    total, raw = objective(student, teacher, BATCH)
    assert list(raw) == ["hard_label", "soft_target", "logit_mse", "logit_mse_2"]
    expected = 0.25 * raw["hard_label"] + 2 * raw["soft_target"] + 3 * raw["logit_mse"] + 0.5 * raw["logit_mse_2"]
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("terms", [[], [(0.0, HardLabel())]])
def test_an_objective_that_trains_nothing_is_refused(terms: list[tuple[float, Loss]]) -> None:
    with pytest.raises(RequestError, match="nothing would be trained"):
        Objective(terms)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "1"])
def test_a_weight_is_a_number_above_zero(weight: float) -> None:
    with pytest.raises(RequestError, match="weight of hard_label"):
        Objective.from_dict({"hard_label": {"weight": weight}})


def test_a_recipe_names_losses_and_settings() -> None:
    objective = Objective.from_dict({"soft_target": {"weight": 0.5, "temperature": 4.0}, "hard_label": {}})
    assert [(term.weight, term.loss) for term in objective] == [(0.5, SoftTarget(4.0)), (1.0, HardLabel())]
    with pytest.raises(RequestError, match="did you mean 'soft_target'"):
        Objective.from_dict({"soft_targets": {}})
    with pytest.raises(RequestError, match="did you mean 'temperature'"):
        Objective.from_dict({"soft_target": {"temprature": 4.0}})


def test_needs_are_the_union_over_the_terms() -> None:
    case = Case("x")
    objective = Objective(
        [(1.0, HiddenState()), (1.0, SoftTarget()), (1.0, get_loss("attention_scores", layer_map="last"))]
    )
    resolved = objective.resolve(case.info(layers=2), case.info(layers=4))
    assert resolved.needs_student().hidden_states == {1, 2} and resolved.needs_teacher().hidden_states == {2, 4}
    assert resolved.needs_student().attention == {1} and resolved.needs_teacher().attention == {3}
    assert resolved.needs_teacher().logits


def test_the_kept_layers_of_a_student_seed_the_default_map() -> None:
    case = Case("x")
    resolved = Objective([(1.0, HiddenState())]).resolve(case.info(layers=2, kept_layers=(1, 4)), case.info(layers=4))
    assert resolved.needs_teacher().hidden_states == {1, 4}


def test_a_name_is_never_given_twice() -> None:
    with pytest.raises(ValueError, match="taken"):

        @register_loss("soft_target")
        class Another(Loss):
            pass


def test_words_are_known_of_before_the_layers_are() -> None:
    assert Objective([(1.0, HardLabel()), (1.0, get_loss("mgskd"))]).reads_words
    assert not Objective([(1.0, HardLabel()), (1.0, get_loss("mgskd", word_weight=0.0))]).reads_words
    rises = {"word_weight": Schedule("linear", 0.0, 1.0)}
    assert Objective([(1.0, get_loss("mgskd"), rises)]).reads_words


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [(Needs(words=True), Needs(), "needs_always"), (Needs(), Needs(words=True), "only the student")],
)
def test_a_loss_that_would_find_no_words_is_refused_before_the_first_step(
    student: Needs, teacher: Needs, message: str
) -> None:
    @dataclass(frozen=True)
    class Late(Loss):
        def needs_student(self) -> Needs:
            return student

        def needs_teacher(self) -> Needs:
            return teacher

    info = Case("soft_target").info()
    with pytest.raises(RequestError, match=message):
        Objective([(1.0, Late())]).resolve(info, info)


def test_of_several_answers_a_term_is_the_mean_and_without_any_it_is_0() -> None:
    """The other terms are as they were."""
    student, first, second = outputs(0), outputs(1), outputs(2)
    objective = Objective([(1.0, HardLabel()), (2.0, LogitMSE())])
    total, raw = objective(student, (first, second), BATCH)
    alone = [objective(student, each, BATCH)[1]["logit_mse"] for each in (first, second)]
    torch.testing.assert_close(raw["logit_mse"], (alone[0] + alone[1]) / 2)
    torch.testing.assert_close(total, raw["hard_label"] + 2 * raw["logit_mse"])
    none, raw_of_none = objective(student, (), BATCH)
    assert float(raw_of_none["logit_mse"]) == 0.0
    torch.testing.assert_close(none, raw["hard_label"])
    with pytest.raises(RequestError, match="nothing to train on"):
        Objective([(1.0, LogitMSE())])(student, (), BATCH)


@pytest.mark.parametrize(
    "terms",
    [
        [(1.0, SoftTarget())],
        [(Schedule("linear", 1.0, 0.0, until=0.5), HardLabel()), (1.0, SoftTarget())],
        [(Schedule("constant", 1.0, warmup=0.5), HardLabel()), (1.0, SoftTarget())],
    ],
    ids=["no other", "an other that ends", "an other that begins late"],
)
def test_an_objective_that_trains_nothing_without_the_teacher_says_so(terms: list[tuple[float, Loss]]) -> None:
    with pytest.raises(RequestError, match="nothing would be trained: add hard_label"):
        Objective(terms).check_trains_alone()
    Objective([(0.1, HardLabel()), *terms]).check_trains_alone()


def test_a_recipe_says_a_loss_twice_by_a_number_and_each_names_its_teacher() -> None:
    spec = {
        "hidden_state": {"teacher": "large"},
        "soft_target": {},
        "hidden_state_2": {"teacher": "small", "weight": 2.0},
    }
    made = Objective.from_dict(spec)
    assert [(term.name, term.loss.name, term.teacher, term.weight) for term in made] == [
        ("hidden_state", "hidden_state", "large", 1.0),
        ("soft_target", "soft_target", None, 1.0),
        ("hidden_state_2", "hidden_state", "small", 2.0),
    ]


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"hidden_state_2": {}}, ["hidden_state_2"]),
        ({"hidden_state": {}, "hidden_state_3": {}}, ["hidden_state_3"]),
        ({"hidden_state": {}, "hidden_state_2": {"weight": -1.0}}, ["hidden_state_2", "weight"]),
        ({"soft_target": {}, "soft_target_2": {"temperature": 0.0}}, ["soft_target_2", "temperature"]),
        ({"hard_label": {}, "hard_label_2": {"teacher": "large"}}, ["hard_label_2", "teacher"]),
    ],
)
def test_an_entry_that_is_wrong_is_told_by_its_own_name(spec: dict, key: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        Objective.from_dict(spec)
    assert [*caught.value.key] == key


def resolved(name: str, student: ModelInfo, teacher: ModelInfo) -> Objective | RequestError:
    try:
        return Objective([(1.0, get_loss(name))]).resolve(student, teacher)
    except RequestError as error:
        return error


@pytest.mark.parametrize("name", list_losses())
def test_every_loss_is_taken_by_a_student_without_layers_or_refused_by_name(name):
    """Such a student has logits and one state a text, and nothing of it may be compared that it has not."""
    teacher = ModelInfo("teacher", 6, 384, 12, 3)
    for student in (ModelInfo("table", 0, 256, 0, 3), ModelInfo("lstm", 1, 300, 0, 3)):
        found = resolved(name, student, teacher)
        if isinstance(found, RequestError):
            assert name in str(found) or found.key[0] == name
            continue
        needs = found.needs_student()
        assert not needs.attention and not needs.values and not needs.input_gradients
        assert max(needs.layers, default=0) <= student.layers
        assert student.layers or not needs.layers or not found.terms[0].loss.by_token


def test_the_state_of_a_first_token_is_not_compared_where_there_is_none():
    teacher, student = ModelInfo("teacher", 6, 384, 12, 3), ModelInfo("table", 0, 256, 0, 3)
    with pytest.raises(RequestError, match="set pooling: mean"):
        Objective.from_dict({"rkd_distance": {}}).resolve(student, teacher)
    assert Objective.from_dict({"rkd_distance": {"pooling": "mean"}}).resolve(student, teacher)

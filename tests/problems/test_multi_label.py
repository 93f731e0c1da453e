"""Several labels a text: decided by the model's own thresholds, wherever its config goes."""

from types import SimpleNamespace

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.models.labels import align_labels, relabel
from distilnlp.problems import get_problem, problem_of_config
from distilnlp.students import build_student
from tests.tiny import tiny_model

NAMES = ("anger", "joy", "sadness")
LOGITS = [[-1.0, -1.0, -1.0], [2.0, -3.0, 0.5]]  # probabilities 0.27 and 0.88, 0.05, 0.62
KIND = get_problem("multi_label_classification")


def model(**config: object):
    return tiny_model("bert", label_names=NAMES, problem_type=KIND.name, **config)


def test_each_label_holds_above_its_own_threshold():
    own = KIND.decided_by([0.2, 0.3, 0.7])
    assert own.decide(LOGITS).tolist() == [[1, 0, 0], [1, 0, 0]]
    assert KIND.decide(LOGITS).tolist() == [[0, 0, 0], [1, 0, 1]]
    assert [answer.label for answer in own.answers(LOGITS, NAMES)] == ["anger", "anger"]
    assert own.answers(LOGITS, NAMES)[0].probabilities == KIND.answers(LOGITS, NAMES)[0].probabilities


def test_thresholds_of_a_half_are_the_default():
    assert KIND.decided_by([0.5] * 3).decide(LOGITS).tolist() == KIND.decide(LOGITS).tolist()
    assert KIND.decided_by(None).thresholds is None


def test_a_kind_is_the_same_whatever_its_thresholds():
    """Who compares kinds asks what is to be learned, not how one model decides."""
    assert KIND.decided_by([0.2, 0.3, 0.7]) == KIND


def test_agreement_is_between_decisions_each_by_its_own_thresholds():
    """A student that says the same as its teacher, at probabilities that lie elsewhere, agrees with it."""
    teacher, student = torch.tensor(LOGITS).double().numpy(), torch.tensor(LOGITS).double().numpy() - 2.0
    assert KIND.agreement(student, teacher)["agreement"] < 1.0
    low = KIND.decided_by([0.1192] * 3)
    assert low.agreement(student, teacher, KIND)["agreement"] == 1.0


def test_a_config_brings_its_thresholds():
    assert problem_of_config(model(decision_thresholds=[0.1, 0.2, 0.3]).config).thresholds == (0.1, 0.2, 0.3)
    assert problem_of_config(model().config).thresholds is None


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ([0.1, 0.2], "has 2 numbers and the head 3 labels"),
        ([], "has 0 numbers and the head 3 labels"),
        (0.5, "is 0.5: a list of probabilities is needed"),
        ("0.5", "a list of probabilities is needed"),
        ([0.1, 1.0, 0.2], "between 0 and 1, without them, for each label; got 1.0"),
        ([0.1, 0, 0.2], "got 0:"),
        ([0.1, float("nan"), 0.2], "got nan:"),
        ([0.1, True, 0.2], "got True:"),
        ([0.1, None, 0.2], "got None:"),
        ([0.1, "0.3", 0.2], "got '0.3':"),
    ],
)
def test_thresholds_that_cannot_be_are_refused_where_they_are_read(thresholds, message):
    with pytest.raises(RequestError, match=message):
        problem_of_config(model(decision_thresholds=thresholds).config)


def test_other_kinds_read_no_thresholds():
    other = tiny_model("bert", label_names=NAMES, decision_thresholds=[7])
    assert problem_of_config(other.config).thresholds is None


def test_thresholds_do_not_fit_logits_of_another_head():
    with pytest.raises(RequestError, match=r"2 decision thresholds do not fit logits of shape \(2, 3\)"):
        KIND.decided_by([0.1, 0.2]).decide(LOGITS)


def test_reordered_labels_keep_their_thresholds():
    made = model(decision_thresholds=[0.1, 0.2, 0.3])
    align_labels(made, ("sadness", "anger", "joy"))
    assert made.config.decision_thresholds == [0.3, 0.1, 0.2]


def test_thresholds_go_with_the_labels_that_they_are_for():
    config = model(decision_thresholds=[0.1, 0.2, 0.3]).config
    assert relabel(config, KIND.config_settings(NAMES)).decision_thresholds == [0.1, 0.2, 0.3]
    assert not hasattr(relabel(config, KIND.config_settings(("a", "b"))), "decision_thresholds")


def test_a_student_does_not_decide_by_the_thresholds_of_its_teacher():
    """They are of the teacher's probabilities."""
    student = build_student(model(layers=3, decision_thresholds=[0.1, 0.2, 0.3]), layers=1)
    assert problem_of_config(student.config).thresholds is None


def test_thresholds_are_for_labels_of_which_several_hold():
    with pytest.raises(RequestError, match="regression has no decision thresholds to choose"):
        get_problem("regression").choose_thresholds([[1.0]], [[1.0]])
    with pytest.raises(RequestError, match=r"one shape; got \(2, 3\) and \(1, 2\)"):
        KIND.choose_thresholds(LOGITS, [[0, 1]])
    with pytest.raises(RequestError, match="the labels must be 0 and 1; got 2"):
        KIND.choose_thresholds(LOGITS, [[0, 1, 2], [0, 0, 0]])


@pytest.mark.parametrize(
    ("thresholds", "printed"), [(None, "['anger', 'sadness']"), ([0.9, 0.01, 0.5], "['joy', 'sadness']")]
)
def test_the_code_of_the_card_decides_as_the_model_does(thresholds, printed, capsys):
    config = SimpleNamespace(id2label=dict(enumerate(NAMES)), num_labels=3)
    if thresholds is not None:
        config.decision_thresholds = thresholds
    exec(KIND.card_code(), {"model": SimpleNamespace(config=config), "logits": torch.tensor(LOGITS[1:])})
    assert capsys.readouterr().out.strip() == printed

"""What holds for every registered kind of task."""

import ast
from collections.abc import Sequence

import numpy as np
import peft
import pytest
import torch
import transformers
from datasets import ClassLabel, Dataset, List, Value

from distilnlp.data.arrow import with_label
from distilnlp.data.label_sets import label_array
from distilnlp.data.read_labels import read_labels
from distilnlp.errors import RequestError, RunError
from distilnlp.losses import HardLabel, get_loss, list_losses
from distilnlp.models.heads import model_class
from distilnlp.outputs import Outputs
from distilnlp.problems import (
    Problem,
    get_problem,
    list_problems,
    problem_of_columns,
    problem_of_config,
    problem_of_labels,
)
from distilnlp.report.scores import SCORES, compute_scores
from tests.problems.cases import CASES, Case

every_kind = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def problem_of(case: Case) -> Problem:
    return get_problem(case.name)


def batch_of(case: Case) -> torch.Tensor:
    return torch.tensor(case.batch)


def as_right(answers: Sequence[str]) -> np.ndarray:
    """Answers as the only right ones."""
    right = np.empty(len(answers), dtype=object)
    right[:] = [(answer,) if answer else () for answer in answers]
    return right


def test_every_registered_kind_has_a_row_in_the_table() -> None:
    assert sorted(case.name for case in CASES) == sorted(list_problems())


@every_kind
def test_its_names_are_those_of_the_libraries(case: Case) -> None:
    problem = problem_of(case)
    assert problem.name == case.name
    assert problem.auto_class in dir(transformers) or hasattr(model_class(problem), "from_config")
    assert problem.peft_task_type in peft.TaskType.__members__
    assert problem.response_loss in list_losses()
    assert problem.parts and {*problem.parts} <= {1, 2} and {*problem.lists} <= {*range(max(problem.parts))}
    assert (problem.label_padding is not None) == (problem.rows == "token")


@every_kind
def test_its_metrics_fit_it_and_can_be_computed(case: Case) -> None:
    problem = problem_of(case)
    assert problem.main_metric == problem.metrics[0]
    assert set(problem.metrics) <= set(problem.accepted_metrics) <= set(SCORES)
    decisions = problem.decisions(np.array(case.logits), case.found)
    right = decisions if case.found is None else as_right(decisions)
    measured = [name for name in problem.accepted_metrics if name not in case.elsewhere]
    scores = compute_scores(measured, decisions, right, problem, logits=case.logits, names=case.names)
    for name, score in scores.items():
        assert score == pytest.approx(1.0 if SCORES[name].higher_is_better else case.lowest.get(name, 0.0)), name


@every_kind
def test_its_labels_are_told_by_the_data_and_encoded(case: Case) -> None:
    """Of a kind whose texts are their own labels none are read."""
    if problem_of(case).labels_itself:
        with pytest.raises(RequestError, match="learns from the texts alone"):
            read_labels(case.column, None, "data", problem=problem_of(case))
        return
    said = problem_of(case) if case.text is not None or not case.told else None
    labels = read_labels(case.column, None, "data", problem=said)
    assert labels.problem == problem_of(case)
    assert labels.names == case.names
    assert len(labels.values) == len(case.column) == len(labels.problem.strata(labels.values))
    texts = case.text or ["a", "b", "c"]
    columns = {"text": texts} if case.pair is None else {"text": texts, "text_pair": case.pair}
    dataset = with_label(Dataset.from_dict(columns), labels.values, labels.feature)
    assert problem_of_columns(dataset.features, None if case.told else problem_of(case)) == labels.problem
    assert len(label_array(dataset, labels.problem)) == sum(map(len, case.pair or case.text or [[1]] * 3))
    again = read_labels(case.column[:1], None, "other data", train=labels)
    assert again.problem == labels.problem and again.names == labels.names


@every_kind
def test_labels_that_it_cannot_have_are_refused_although_it_is_said(case: Case) -> None:
    with pytest.raises(RequestError, match="data"):
        read_labels(case.refused, None, "data", problem=case.name)


@every_kind
def test_a_model_is_set_up_for_it_and_known_by_its_config(case: Case) -> None:
    problem = problem_of(case)
    config = transformers.BertConfig(**problem.config_settings(case.names))
    assert problem.vectors or problem.labels_itself or config.num_labels == problem.num_logits(case.names)
    assert problem_of_config(config) == problem
    kept = {"problem_type", "num_labels", *(["id2label", "label2id"] if problem.labels_itself else [])}
    assert problem.config_settings(None).keys() <= kept and problem.name in str(config)


@every_kind
def test_logits_become_the_decisions_worked_out_by_hand(case: Case) -> None:
    problem = problem_of(case)
    assert problem.decisions(case.logits, case.found).tolist() == case.decisions
    names = case.names or ("LABEL_0", "LABEL_1", "LABEL_2")
    answers = problem.answers(case.logits, names)
    assert len(answers) == len(case.logits)
    assert all(answer.probabilities.keys() <= set(names) for answer in answers)


@every_kind
def test_logits_that_are_no_numbers_are_a_run_that_failed(case: Case) -> None:
    logits = np.array(case.logits)
    logits[1] = np.nan
    with pytest.raises(RunError, match="1 of 3 examples have logits that are not finite"):
        problem_of(case).decide(logits)


@every_kind
def test_a_model_agrees_with_itself_and_less_with_another(case: Case) -> None:
    problem = problem_of(case)
    logits = problem.check_logits(np.array(case.logits))
    found = case.found and (case.found, case.found)
    others = case.found and (case.found[::-1], case.found)
    same = problem.agreement_of(logits, logits, found)
    other = problem.agreement_of(-logits, logits, others)
    shares = same.keys() & {"agreement", "kappa", "answer_f1"}
    assert "agreement" in shares and same.keys() == other.keys() != shares
    assert all(value == (1.0 if name in shares else 0.0) for name, value in same.items())
    assert all(value < 1.0 if name in shares else value > 0.0 for name, value in other.items())


@every_kind
def test_its_baselines_are_answers_that_need_no_text(case: Case) -> None:
    problem = problem_of(case)
    if problem.labels_itself:
        labels = np.array(case.column)
    elif case.found:
        labels = as_right(case.found)
    else:
        values = read_labels(case.column, None, "data", problem=problem).values
        labels = np.concatenate(values) if problem.rows in ("token", "list") else values
    for answers in (problem.baseline_decisions(labels, [("is it", "it is in Rome")] * 4) or {}).values():
        compute_scores(problem.metrics, answers, as_right(answers), problem)
    for answer, logits in problem.baselines(labels, 4).items():
        assert answer
        decisions = problem.decide(logits)
        assert len(decisions) == 4
        if problem.rows != "list":  # an order is no single answer
            assert (decisions == decisions[0]).all()
        if case.found:
            decisions = problem.decisions(logits, ["it"] * 4)
        right = as_right(decisions) if case.found else np.abs(decisions) if problem.rows == "list" else decisions
        compute_scores(problem.metrics, decisions, right, problem, logits, names=case.names)


def as_outputs(case: Case, problem: Problem | None, sign: int = 1) -> Outputs:
    """The logits as a model gives them; those of a kind that answers by token are of one text."""
    logits = torch.tensor(case.head or case.logits) * sign
    if problem_of(case).taught_alone:
        logits = torch.cat([logits, torch.ones_like(logits)], dim=-1)
    return Outputs(logits=logits[None] if problem_of(case).rows == "token" else logits, problem=problem)


def groups_of(case: Case) -> dict[str, torch.Tensor]:
    """What a batch has beside the labels: the three texts are those of one query, where the kind ranks them."""
    return {"groups": torch.tensor([[0, 1, 2]])} if problem_of(case).rows == "list" else {}


@every_kind
def test_its_own_loss_is_what_hard_label_computes(case: Case) -> None:
    """Whether the outputs say which problem it is, or the labels alone tell."""
    problem, logits, labels = problem_of(case), torch.tensor(case.head or case.logits), batch_of(case)
    if problem.taught_alone:
        with pytest.raises(RequestError, match="one logit"):
            HardLabel()(as_outputs(case, problem), None, {"labels": labels})
        return
    assert problem.has_labels(labels)
    assert (problem_of_labels(labels) == problem) == case.alone
    targets = labels if labels.is_floating_point() or problem.rows in ("token", "span") else labels[:, None]
    rows = {"text": logits[:, None], "token": logits[None], "span": logits.mT, "list": logits.mT[None]}[problem.rows]
    expected = problem.row_loss(rows, targets).mean()
    for known in (problem, None) if case.alone else (problem,):
        got = HardLabel()(as_outputs(case, known), None, {"labels": labels, **groups_of(case)})
        torch.testing.assert_close(got, expected)


@every_kind
def test_the_response_loss_becomes_the_one_that_fits_it(case: Case) -> None:
    problem = problem_of(case)
    student, teacher = (as_outputs(case, problem, sign) for sign in (1, -1))
    batch = groups_of(case)
    expected = get_loss(problem.response_loss)(student, teacher, batch)
    assert get_loss("response")(student, teacher, batch).item() == expected.item() > 0


@every_kind
def test_its_card_is_prose_and_python(case: Case) -> None:
    problem = problem_of(case)
    what, *more = problem.summary("texts", list(case.names or ()))
    assert "texts" in what
    assert all(name in " ".join(more) for name in case.names or ())
    ast.parse(problem.card_code())


def test_a_name_is_taken_once_and_a_misspelt_one_gets_the_nearest() -> None:
    with pytest.raises(RequestError, match="unknown problem_type 'regresion': did you mean 'regression'"):
        get_problem("regresion")
    assert get_problem(get_problem("regression")) is get_problem("regression")


def test_columns_without_a_kind_of_their_own_are_classes() -> None:
    for label in (ClassLabel(names=["a", "b"]), Value("int64")):
        assert problem_of_columns({"text": Value("string"), "label": label}) == get_problem(
            "single_label_classification"
        )
    assert problem_of_columns({"text": Value("string")}) is None


def test_a_model_is_known_by_its_class_where_its_config_names_no_problem() -> None:
    known = {"BertForTokenClassification": "token_classification", "BertForSequenceClassification": None}
    for architecture, name in known.items():
        config = transformers.BertConfig(architectures=[architecture], num_labels=4)
        assert problem_of_config(config) == get_problem(name or "single_label_classification")


def test_lists_of_classes_are_tags_where_the_model_says_so() -> None:
    features = {"input_ids": List(Value("int32")), "labels": List(Value("int64"))}
    assert problem_of_columns(features, get_problem("token_classification")) == get_problem("token_classification")
    many = {"text": Value("string"), "label": List(ClassLabel(names=["a", "b"]))}
    assert problem_of_columns(many, get_problem("token_classification")) == get_problem("multi_label_classification")

"""Every metric against scikit-learn and scipy, and the choices where those give none."""

import logging
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator
from sklearn import metrics as sk

from distilnlp.errors import RequestError, RunError
from distilnlp.problems import get_problem
from distilnlp.report.scores import SCORES, check_metrics, compute_scores

SINGLE_LABEL, REGRESSION, MULTI_LABEL = "single_label_classification", "regression", "multi_label_classification"

CLASS_REFERENCES = {
    "accuracy": sk.accuracy_score,
    "f1": lambda y, p: sk.f1_score(y, p, zero_division=0),
    "macro_f1": lambda y, p: sk.f1_score(y, p, average="macro", zero_division=0),
    "micro_f1": lambda y, p: sk.f1_score(y, p, average="micro", zero_division=0),
    "matthews_correlation": sk.matthews_corrcoef,
}
SEVERAL_REFERENCES = {name: CLASS_REFERENCES[name] for name in ("accuracy", "macro_f1", "micro_f1")}
NUMBER_REFERENCES = {
    "pearson": lambda y, p: scipy.stats.pearsonr(y, p).statistic,
    "spearmanr": lambda y, p: scipy.stats.spearmanr(y, p).statistic,
    "mse": sk.mean_squared_error,
}


RANKING_REFERENCES = {
    "micro_average_precision": lambda y, z: sk.average_precision_score(y, z, average="micro"),
    "macro_average_precision": lambda y, z: sk.average_precision_score(y, z, average="macro"),
}


def pairs(values):
    return st.lists(st.tuples(values, values), min_size=1, max_size=30)


def reference(function, references, predictions):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they warn where they choose 0 for an undefined ratio
        return function(references, predictions)


ENTITY_REFERENCES = {"entity_f1": "f1", "entity_precision": "precision", "entity_recall": "recall"}
TEXTS_REFERENCES = ("ndcg@10", "mrr@10", "map")  # below, one query at a time
MASKED_REFERENCES = {
    "masked_accuracy": lambda y, z: sk.accuracy_score(y, z.argmax(-1)),
    "pseudo_perplexity": lambda y, z: torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(y)).exp().item(),
}
ANSWER_REFERENCES = {"answer_f1", "exact_match"}  # worked out by hand in tests/problems/test_answers.py
VECTOR_REFERENCES = {"translation_accuracy"}  # in tests/problems/test_sentence_embedding.py
TAGS = ("O", "B-a", "I-a", "B-b", "I-b")


def test_every_metric_has_a_reference():
    references = (CLASS_REFERENCES, NUMBER_REFERENCES, RANKING_REFERENCES, ENTITY_REFERENCES)
    references = (*references, MASKED_REFERENCES, TEXTS_REFERENCES, ANSWER_REFERENCES, VECTOR_REFERENCES)
    assert set(SCORES) == set().union(*references)


@settings(max_examples=40)
@given(data=st.data())
def test_scores_of_hidden_tokens_match_scikit_learn_and_torch(data):
    """Over all tokens alike, however many of them a text has."""
    labels = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    vocabulary = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(1, len(labels), 5))
    rows = get_problem("masked_lm").kept(torch.tensor(vocabulary), torch.tensor([labels]))[0].numpy()
    found = compute_scores(
        list(MASKED_REFERENCES),
        vocabulary[0].argmax(-1),
        labels,
        "masked_lm",
        logits=rows,
        examples=np.arange(len(labels)) // 3,
    )
    for name, function in MASKED_REFERENCES.items():
        assert found[name] == pytest.approx(function(labels, vocabulary[0]), rel=1e-4)


def valid(tags):
    """The tags with what cannot go on as a beginning: of other sequences two programs may think differently."""
    found = ["O"]
    for tag in tags:
        goes_on = tag[0] == "I" and found[-1][1:] == tag[1:]
        found.append(f"B{tag[1:]}" if tag[0] == "I" and not goes_on else tag)
    return found[1:]


def trec_eval(scores, relevance):
    """nDCG@10, MRR@10 and average precision of a query as trec_eval defines them, written out place by place."""
    ranked = [relevance[i] for i in sorted(range(len(scores)), key=lambda i: -scores[i])]
    right = [place for place, grade in enumerate(ranked, start=1) if grade > 0]
    reciprocal = next((1 / place for place in right if place <= 10), 0.0)
    precision = sum(sum(each <= place for each in right) / place for place in right) / len(right)
    return [sk.ndcg_score([relevance], [scores], k=10), reciprocal, precision]


QUERIES = st.lists(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(-50, 50)), min_size=2, max_size=14, unique_by=lambda each: each[1]
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60)
@given(queries=QUERIES)
def test_scores_of_rankings_match_sklearn_and_trec_eval(queries):
    judged = [
        trec_eval([score for _, score in texts], [grade for grade, _ in texts])
        for texts in queries
        if any(grade for grade, _ in texts)
    ]
    rows = [(query, grade, score) for query, texts in enumerate(queries) for grade, score in texts]
    examples, grades, scores = (np.array(each) for each in zip(*rows, strict=True))
    found = compute_scores(TEXTS_REFERENCES, scores, grades, "ranking", examples=examples)
    expected = np.mean(judged, axis=0) if judged else [0.0] * 3
    assert list(found.values()) == pytest.approx(list(expected))


def test_of_texts_with_one_score_the_less_relevant_come_first():
    """Or a model that tells nothing apart would have the score of the file's order."""
    found = compute_scores(TEXTS_REFERENCES, [0.0, 0.0, 0.0], [1, 0, 0], "ranking", examples=np.zeros(3, np.int64))
    assert found == pytest.approx({"ndcg@10": 0.5, "mrr@10": 1 / 3, "map": 1 / 3})


def test_queries_without_a_relevant_text_are_left_out_of_the_mean():
    examples = np.array([0, 0, 1, 1])
    found = compute_scores(TEXTS_REFERENCES, [2, 1, 2, 1], [1, 0, 0, 0], "ranking", examples=examples)
    assert set(found.values()) == {1.0}


@pytest.mark.parametrize("name", ENTITY_REFERENCES)
@settings(max_examples=40)
@given(texts=st.lists(pairs(st.sampled_from(TAGS)), min_size=1, max_size=5))
def test_scores_of_entities_match_nervaluate(name, texts):
    predictions, references = ([valid([pair[side] for pair in text]) for text in texts] for side in (0, 1))
    judged = Evaluator(references, predictions, tags=["a", "b"], loader="list").evaluate()
    expected = getattr(judged["overall"]["strict"], ENTITY_REFERENCES[name])
    ids = [np.array([TAGS.index(tag) for tags in side for tag in tags]) for side in (predictions, references)]
    examples = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    found = compute_scores([name], *ids, "token_classification", examples=examples, names=TAGS)
    assert found[name] == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(CLASS_REFERENCES))
@settings(max_examples=40)
@given(data=st.data())
def test_class_metrics_match_scikit_learn(name, data):
    top = 1 if name == "f1" else 3
    predictions, references = zip(*data.draw(pairs(st.integers(0, top))), strict=True)
    expected = reference(CLASS_REFERENCES[name], references, predictions)

    got = compute_scores([name], predictions, references, SINGLE_LABEL)[name]

    assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SEVERAL_REFERENCES))
@settings(max_examples=40)
@given(rows=pairs(st.lists(st.integers(0, 1), min_size=3, max_size=3)))
def test_multi_label_metrics_match_scikit_learn(name, rows):
    predictions, references = (np.array(column) for column in zip(*rows, strict=True))
    expected = reference(SEVERAL_REFERENCES[name], references, predictions)

    got = compute_scores([name], predictions, references, MULTI_LABEL)[name]

    assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", sorted(RANKING_REFERENCES))
@settings(max_examples=40)
@given(rows=pairs(st.lists(st.integers(0, 4), min_size=3, max_size=3)))
def test_average_precision_matches_scikit_learn_with_ties(name, rows):
    logits, references = (np.array(column) for column in zip(*rows, strict=True))
    references = (references > 2).astype(int)
    references[0] = 1  # each label holds somewhere
    expected = reference(RANKING_REFERENCES[name], references, logits)

    got = compute_scores([name], np.zeros_like(references), references, MULTI_LABEL, logits=logits)[name]

    assert got == pytest.approx(expected, abs=1e-12)


def test_a_label_that_no_example_has_is_left_out_of_the_macro_mean():
    """Its average precision is 0 / 0; as a 0 it would lower the mean of a model that is right everywhere."""
    logits, references = np.array([[3.0, 1.0], [-1.0, 2.0]]), np.array([[1, 0], [0, 0]])
    scores = compute_scores(sorted(RANKING_REFERENCES), references, references, MULTI_LABEL, logits=logits)
    assert scores == {"macro_average_precision": 1.0, "micro_average_precision": 1.0}


def test_average_precision_without_any_label_is_zero_and_logged(caplog):
    nothing = np.zeros((2, 3))
    with caplog.at_level(logging.WARNING):
        got = compute_scores(sorted(RANKING_REFERENCES), nothing, nothing, MULTI_LABEL, logits=nothing)
    assert set(got.values()) == {0.0}
    assert "macro_average_precision is not defined" in caplog.text


def test_average_precision_needs_the_logits_of_the_same_examples():
    one = np.array([[1, 0]])
    with pytest.raises(RequestError, match="'micro_average_precision' is computed from logits"):
        compute_scores(["micro_average_precision"], one, one, MULTI_LABEL)
    with pytest.raises(RequestError, match=r"the logits are \(1, 3\) and the references \(1, 2\)"):
        compute_scores(["micro_average_precision"], one, one, MULTI_LABEL, logits=[[1.0, 2.0, 3.0]])
    with pytest.raises(RunError, match="not finite"):
        compute_scores(["micro_average_precision"], one, one, MULTI_LABEL, logits=[[1.0, np.nan]])


@pytest.mark.parametrize("name", sorted(NUMBER_REFERENCES))
@pytest.mark.parametrize("ties", [False, True])
def test_number_metrics_match_scipy(name, ties):
    rng = np.random.default_rng(0)
    references = rng.uniform(0, 5, 200)
    predictions = references + rng.normal(0, 1, 200)
    if ties:
        references, predictions = references.round(), predictions.round()
    expected = NUMBER_REFERENCES[name](references, predictions)

    got = compute_scores([name], predictions, references, REGRESSION)[name]

    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearmanr"])
@pytest.mark.parametrize("constant", ["predictions", "references"])
def test_an_undefined_correlation_is_zero_and_logged(name, constant, caplog):
    """scipy gives NaN, which would end up in the report and could never be the best checkpoint."""
    values = {"predictions": [1.0, 2.0, 4.0], "references": [0.0, 1.0, 5.0], constant: [0.1, 0.1, 0.1]}
    with caplog.at_level(logging.WARNING):
        got = compute_scores([name], **values, problem=REGRESSION)
    assert got == {name: 0.0}
    assert name in caplog.text
    assert constant in caplog.text


def test_correlation_survives_large_numbers():
    """Squares of 1e200 are infinite; the correlation of these is 1."""
    assert compute_scores(["pearson"], [1e200, 2e200, 3e200], [1, 2, 3], REGRESSION)["pearson"] == pytest.approx(1)


def test_float32_predictions_are_computed_in_float64():
    """Near a large offset float32 loses the digits that a correlation is made of."""
    predictions = np.array([10000.001, 10000.002, 10000.004, 10000.003] * 50, dtype=np.float32)
    references = np.arange(200.0)
    expected = scipy.stats.pearsonr(predictions.astype(np.float64), references).statistic
    assert compute_scores(["pearson"], predictions, references, REGRESSION)["pearson"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metrics", "problem_type", "message"),
    [
        (["acuracy"], SINGLE_LABEL, "unknown metric 'acuracy': did you mean 'accuracy'"),
        (["accuracy"], REGRESSION, "'accuracy' does not fit regression: accepted: pearson, spearmanr, mse"),
        (["f1"], MULTI_LABEL, "'f1' does not fit multi_label"),
        ([], SINGLE_LABEL, "at least one"),
        ("f1", SINGLE_LABEL, "a list"),
        (["accuracy"], "classes", "unknown problem_type 'classes'"),
    ],
)
def test_names_that_do_not_fit_are_refused(metrics, problem_type, message):
    with pytest.raises(RequestError, match=message):
        check_metrics(metrics, problem_type)


@pytest.mark.parametrize(
    ("name", "predictions", "references", "problem_type", "message"),
    [
        ("accuracy", [], [], SINGLE_LABEL, "at least one example"),
        ("accuracy", [0, 1], [0], SINGLE_LABEL, r"\(2,\) and \(1,\)"),
        ("accuracy", [[0.1, 0.9]], [[0, 1]], SINGLE_LABEL, "1 dimension"),
        ("accuracy", [0.2, 0.9], [0, 1], SINGLE_LABEL, "the predictions must be class numbers from 0; got 0.2"),
        ("accuracy", [0, 1], [-1, -1], SINGLE_LABEL, "the split has no labels"),
        ("accuracy", [[0, 2]], [[0, 1]], MULTI_LABEL, "must be 0 and 1; got 2"),
        ("f1", [0, 1, 2], [0, 1, 1], SINGLE_LABEL, "use macro_f1"),
    ],
)
def test_values_that_are_no_answers_are_refused(name, predictions, references, problem_type, message):
    with pytest.raises(RequestError, match=message):
        compute_scores([name], predictions, references, problem_type)


def test_predictions_that_are_not_numbers_stop_the_run():
    with pytest.raises(RunError, match="diverged"):
        compute_scores(["pearson"], [1.0, float("nan")], [1.0, 2.0], REGRESSION)

"""Questions with their contexts: windows, labels, the best answer of all windows, and the threshold for none."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from distilnlp.data.read_labels import read_labels
from distilnlp.errors import RequestError
from distilnlp.models.backend import TorchBackend
from distilnlp.models.heads import model_from_config
from distilnlp.models.predictor import Predictor
from distilnlp.problems import get_problem
from distilnlp.problems.answers import token_f1
from distilnlp.problems.reading import Encoded
from distilnlp.report.scores import compute_scores
from tests.problems.test_token_classification import pieces
from tests.tiny import tiny_model, tiny_tokenizer

KIND = get_problem("question_answering")
QUESTION = "is it good"
CONTEXT = "the film was good and the book was bad , we saw it in the red , of it they seems quite fine on a meal"
TOKENIZERS = {"wordpiece": tiny_tokenizer, "byte-level": pieces}
every_tokenizer = pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)


def label(*answers: str, context: str = CONTEXT) -> dict[str, list[Any]]:
    return {"text": list(answers), "answer_start": [context.index(answer) for answer in answers]}


def encoded(
    make: Any, limit: int, *answers: str, question: str = QUESTION, context: str = CONTEXT, **settings: Any
) -> Encoded:
    rows = {"text": [question], "text_pair": [context], "label": [label(*answers, context=context)]}
    return KIND.reader(make(), limit, settings).encode(rows)


def texts_of_windows(found: Encoded, context: str = CONTEXT) -> list[str]:
    return [context[int(offsets[1][0]) : int(offsets[-1][1])] for _, offsets in found.taken]


@every_tokenizer
@pytest.mark.parametrize("limit", [64, 40, 20])
@pytest.mark.parametrize("answer", ["good", "film was good", "meal", "the", "a meal"])
def test_the_label_is_the_answer_in_windows_that_have_it_whole_and_none_in_others(
    make: Any, limit: int, answer: str
) -> None:
    found = encoded(make, limit, answer)
    start = CONTEXT.index(answer)
    whole = 0
    for place, (tokens, offsets) in enumerate(found.taken):
        first, last = found.columns["labels"][place]
        within = offsets[1][0] <= start and offsets[-1][1] >= start + len(answer)
        if within:
            places = {int(token): span for token, span in zip(tokens, offsets, strict=True)}
            assert CONTEXT[places[first][0] : places[last][1]].strip() == answer
        else:
            assert first == last == tokens[0]
        whole += within
        assert len(found.columns["input_ids"][place]) <= limit
    # What is longer than two windows share may stand in none of them whole.
    assert whole >= 1 or len(make()(answer, add_special_tokens=False)["input_ids"]) > 3


@every_tokenizer
@pytest.mark.parametrize("limit", [64, 40, 20])
@pytest.mark.parametrize("stride", [0, 2])
def test_the_windows_have_all_of_the_context_and_the_whole_question(make: Any, limit: int, stride: int) -> None:
    found = encoded(make, limit, stride=stride)
    tokenizer = make()
    asked = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
    covered = {int(char) for _, offsets in found.taken for start, end in offsets[1:] for char in range(start, end)}
    assert {place for place, sign in enumerate(CONTEXT) if sign != " "} <= covered
    for ids in found.columns["input_ids"]:
        assert any(ids[i : i + len(asked)] == asked for i in range(len(ids)))
    if stride == 0:
        spans = [(int(offsets[1][0]), int(offsets[-1][1])) for _, offsets in found.taken]
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


def test_a_question_that_leaves_the_context_no_room_is_cut_and_told() -> None:
    found = encoded(tiny_tokenizer, 20, question="the film " * 30)
    assert found.cut == [0]
    assert all(len(ids) <= 20 for ids in found.columns["input_ids"])
    assert not encoded(tiny_tokenizer, 20).cut


def test_a_question_without_an_answer_has_the_label_for_none_in_every_window() -> None:
    assert encoded(tiny_tokenizer, 20).columns["labels"] == [[0, 0]] * len(encoded(tiny_tokenizer, 20).example)


def test_a_window_without_the_first_right_answer_may_have_another_one() -> None:
    found = encoded(tiny_tokenizer, 14, "film", "meal", stride=0)
    count = len(found.example)
    assert count > 2
    assert [first > 0 for first, _ in found.columns["labels"]] == [True, *[False] * (count - 2), True]


REFUSED = {
    "stride": ({"stride": 40}, r"data\.stride is 40"),
    "longest": ({"longest_answer": 0}, r"data\.longest_answer is 0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_settings_that_cannot_be_are_refused(what: str) -> None:
    settings, message = REFUSED[what]
    with pytest.raises(RequestError, match=message):
        KIND.reader(tiny_tokenizer(), 64, settings)


def test_a_tokenizer_that_pads_on_the_left_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    with pytest.raises(RequestError, match="pad on the right"):
        KIND.reader(tokenizer, 64, {})


# ---- the answer of all windows ----


def random_reader(seed: int = 0, **config: Any) -> Any:
    """A model of this kind with weights so large that its answers differ."""
    settings = tiny_model("bert", **config).config
    for key, value in KIND.config_settings(None).items():
        setattr(settings, key, value)
    torch.manual_seed(seed)
    model = model_from_config(settings).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)
    return model


def plain_answer(
    model: Any, tokenizer: PreTrainedTokenizerBase, question: str, context: str, limit: int, stride: int, longest: int
) -> tuple[tuple[int, int], float, float]:
    """Written again without numpy: every span of every window, as SQuAD's baseline joins them.

    Returns:
        where the best answer stands, its probability, and by how much it is above none.
    """
    batch = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=limit,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    best, span, probability, none = -float("inf"), (0, 0), 0.0, float("inf")
    for window, ids in enumerate(batch["input_ids"]):
        with torch.no_grad():
            out = model(torch.tensor([ids]), token_type_ids=torch.tensor([batch["token_type_ids"][window]]))
        start, end = out.start_logits[0], out.end_logits[0]
        none = min(none, float(start[0] + end[0]))
        tokens = [i for i, text in enumerate(batch.sequence_ids(window)) if text == 1]
        known = torch.tensor([0, *tokens])
        for i in tokens:
            for j in [j for j in tokens if i <= j < i + longest]:
                if start[i] + end[j] > best:
                    best = float(start[i] + end[j])
                    span = (batch["offset_mapping"][window][i][0], batch["offset_mapping"][window][j][1])
                    shares = start[known].softmax(0), end[known].softmax(0)
                    probability = float(shares[0][1 + tokens.index(i)] * shares[1][1 + tokens.index(j)])
    return span, probability, best - none


@pytest.mark.parametrize(("limit", "stride", "longest"), [(64, 8, 30), (20, 4, 3), (16, 0, 1)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_answer_is_the_best_span_of_all_windows(limit: int, stride: int, longest: int, seed: int) -> None:
    model = random_reader(seed)
    model.config.distilnlp_reading = {"stride": stride, "longest_answer": longest}
    predictor = Predictor(TorchBackend(model, torch.device("cpu")), tiny_tokenizer(), max_length=limit)
    texts = [(QUESTION, CONTEXT), ("the book", "it was the book"), (QUESTION, CONTEXT[::-1])]
    found, answers = predictor.answered(texts), predictor.answers(texts)
    for place, (question, context) in enumerate(texts):
        span, probability, margin = plain_answer(model, tiny_tokenizer(), question, context, limit, stride, longest)
        assert answers[place].place == span == found.spans[place][0]
        assert answers[place].label == context[slice(*span)]
        assert answers[place].probability == pytest.approx(probability, rel=1e-4)
        assert found.logits[place, 0] - found.logits[place, 1] == pytest.approx(margin, rel=1e-4, abs=1e-4)


def test_the_order_and_the_number_of_questions_at_a_time_change_nothing() -> None:
    model = random_reader(3)
    texts = [(QUESTION, CONTEXT), ("a", "the book"), ("the meal", CONTEXT + " " + CONTEXT), ("a film", "it")]
    results = []
    for size, order in ((1, [0, 1, 2, 3]), (4, [3, 2, 1, 0])):
        predictor = Predictor(
            TorchBackend(model, torch.device("cpu")), tiny_tokenizer(), max_length=20, batch_size=size
        )
        answers = predictor.answers([texts[i] for i in order])
        results.append([answers[order.index(i)] for i in range(4)])
    for one, other in zip(*results, strict=True):
        assert (one.label, one.place) == (other.label, other.place)
        assert one.probability == pytest.approx(other.probability, rel=1e-4)


def test_a_context_without_a_token_has_no_answer() -> None:
    predictor = Predictor(TorchBackend(random_reader(), torch.device("cpu")), tiny_tokenizer())
    (answer,) = predictor.answers([("is it", "\u200b")])
    assert answer.label == "" and answer.place == (0, 0)


# ---- an answer, or none ----

MARGINS = np.array([3.0, 1.0, -1.0, -2.0])
FOUND = ["Rome", "it", "a film", "red"]
LOGITS = np.stack([MARGINS, np.zeros(4), np.full(4, 9.0)], axis=1)


def right(*answers: tuple[str, ...]) -> np.ndarray:
    made = np.empty(len(answers), dtype=object)
    made[:] = answers
    return made


def test_without_a_threshold_every_question_is_answered() -> None:
    assert KIND.decisions(LOGITS, FOUND).tolist() == FOUND
    assert KIND.decided_by([0.5]).decisions(LOGITS, FOUND).tolist() == ["Rome", "it", "", ""]


def test_the_threshold_is_the_one_with_the_best_f1() -> None:
    gold = right(("Rome",), (), ("a film",), ())
    (threshold,) = KIND.choose_thresholds_of(LOGITS, FOUND, gold)
    every = [0.0, 0.01, 0.2, 0.4, 0.6, 0.9, 0.99]
    f1 = {t: score(KIND.decided_by([t]).decisions(LOGITS, FOUND), gold) for t in (*every, threshold)}
    assert f1[threshold] == max(f1.values())


def score(answers: Any, gold: Any) -> float:
    return float(np.mean([token_f1(answer, each) for answer, each in zip(answers, gold, strict=True)]))


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better_than_the_one_that_is_chosen(seed: int) -> None:
    generator = np.random.default_rng(seed)
    margins = generator.integers(-3, 4, 40).astype(float)  # with equal ones among them
    logits = np.stack([margins, np.zeros(40), np.full(40, 9.0)], axis=1)
    found = [FOUND[i] for i in generator.integers(0, 4, 40)]
    gold = right(*[(FOUND[i],) if i < 4 else () for i in generator.integers(0, 8, 40)])
    chosen = KIND.decided_by(KIND.choose_thresholds_of(logits, found, gold)).decisions(logits, found)
    others = [KIND.decided_by([t]).decisions(logits, found) for t in np.linspace(0, 0.999, 300)]
    assert score(chosen, gold) == pytest.approx(max(score(each, gold) for each in others))


@pytest.mark.parametrize("wrong", [[], [0.1, 0.2], [1.0], [-0.1], ["0.5"]])
def test_what_is_no_threshold_is_refused(wrong: list[Any]) -> None:
    with pytest.raises(RequestError, match="decision_thresholds needs one probability"):
        KIND.decided_by(wrong)


def test_a_threshold_is_kept_in_the_config_and_used() -> None:
    model = random_reader()
    predictor = Predictor(TorchBackend(model, torch.device("cpu")), tiny_tokenizer())
    texts = [(QUESTION, CONTEXT), ("a", "the book")]
    predictor.choose_thresholds(texts, right((), ()))
    assert len(model.config.decision_thresholds) == 1
    assert predictor.decide(texts).tolist() == ["", ""]
    assert [answer.place for answer in predictor.answers(texts)] == [(0, 0), (0, 0)]


# ---- metrics and baselines ----


def test_the_scores_are_means_over_the_questions_also_of_those_with_an_answer_alone() -> None:
    gold, answers = right(("Rome",), (), ("the film",), ()), np.array(["Rome", "", "film it", "no"], dtype=object)
    scores = compute_scores(KIND.metrics, answers, gold, KIND)
    assert scores == {"answer_f1": pytest.approx((1 + 1 + 2 / 3 + 0) / 4), "exact_match": 0.5}
    details = KIND.details(answers, gold, np.arange(4), None, np.empty(0))
    assert details == {
        "answer_f1[answerable]": pytest.approx((1 + 2 / 3) / 2),
        "answer_f1[unanswerable]": pytest.approx(0.5),
    }
    assert KIND.details(answers[:1], gold[:1], np.arange(1), None, np.empty(0)) == {}


def test_numbers_are_no_answers() -> None:
    with pytest.raises(RequestError, match="the predictions must be of type str"):
        compute_scores(KIND.metrics, [1, 0], right(("a",), ()), KIND)
    with pytest.raises(RequestError, match="the references must be of type tuple"):
        compute_scores(KIND.metrics, ["a", ""], ["a", ""], KIND)


def test_baselines_read_no_question() -> None:
    texts = [("a", "one two three"), ("b", " ".join(map(str, range(20))))]
    found = KIND.baseline_decisions(right(("x", "z"), ("y",), ("x",), ()), texts)
    assert found is not None
    assert {name: list(answers) for name, answers in found.items()} == {
        "no answer": ["", ""],
        "the commonest answer of the training rows": ["x", "x"],
        "the first 10 words of the context": ["one two three", "0 1 2 3 4 5 6 7 8 9"],
    }


def test_agreement_compares_the_answers_and_not_only_whether_there_are_any() -> None:
    other = ["Rome", "it is", "a meal", "red"]
    found = KIND.agreement_of(LOGITS, LOGITS, (FOUND, other))
    assert found == {"agreement": 0.5, "answer_f1": pytest.approx((1 + 2 / 3 + 0 + 1) / 4), "mae": 0.0}
    strict = KIND.decided_by([0.5])
    assert strict.agreement_of(LOGITS, LOGITS, (FOUND, other), strict)["agreement"] == 0.75  # both give none


def test_answers_without_words_are_no_answers() -> None:
    column = [{"text": ["", "a"], "answer_start": [-1, 3]}, {"text": [" "], "answer_start": [0]}]
    assert read_labels(column, None, "data").values.tolist() == [(("a", 3),), ()]

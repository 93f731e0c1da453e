"""Noisy votes: the count, the noise that is drawn once, and what it costs."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, Objective, SoftTarget
from distilnlp.problems import get_problem
from distilnlp.teachers import Combination, EnsembleTeacher, load_teacher
from distilnlp.teachers.privacy import Noise, noisy_vote, vote_epsilon
from tests.runs import make_trainer, snapshot, teacher_model
from tests.tiny import tiny_tokenizer

LEARN = Objective([(1.0, SoftTarget(temperature=1.0))])


def batch(*rows: list[int], left: int = 0, right: int = 0) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    padded = [[0] * left + row + [0] * (longest - len(row) + right) for row in rows]
    real = [[0] * left + [1] * len(row) + [0] * (longest - len(row) + right) for row in rows]
    return {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(real)}


def voters(**settings: Any) -> EnsembleTeacher:
    members = {f"t{seed}": load_teacher(teacher_model(seed=seed), tiny_tokenizer()) for seed in (1, 2, 3)}
    return EnsembleTeacher(members, combine="noisy_vote", **settings)


def test_without_noise_it_is_the_plurality() -> None:
    answers = [torch.tensor([[0.0, 9.0, 1.0], [3.0, 0.0, 0.0]]) for _ in range(2)] + [
        torch.tensor([[5.0, 0.0, 0.0]] * 2)
    ]
    logits = noisy_vote(answers, torch.zeros(2, 3), 0.0)
    assert logits.argmax(dim=-1).tolist() == [1, 0]
    torch.testing.assert_close(logits.softmax(-1).amax(dim=-1), torch.ones(2))


def test_the_noise_decides_as_often_as_its_size_says() -> None:
    """Three votes against none: the difference of two draws has the standard deviation sigma * sqrt 2."""
    rows, sigma = 4000, 2.0
    answers = [torch.tensor([[1.0, 0.0]]).expand(rows, 2)] * 3
    noise = Noise(seed=1).draw({"input_ids": torch.arange(rows)[:, None]}, 2)
    lost = (noisy_vote(answers, noise, sigma).argmax(dim=-1) == 1).double().mean().item()
    assert lost == pytest.approx(0.5 * math.erfc(3 / (sigma * 2)), abs=0.02)
    torch.testing.assert_close(noise.std(), torch.tensor(1.0, dtype=torch.float64), atol=0.03, rtol=0.0)


def test_a_repeated_question_gets_the_same_noise_whatever_is_around_it() -> None:
    noise, text, other = Noise(), [2, 7, 8, 3], [2, 9, 3]
    alone = noise.draw(batch(text), 3)[0]
    assert torch.equal(noise.draw(batch(other, text), 3)[1], alone)
    assert torch.equal(noise.draw(batch(text, right=5), 3)[0], alone)
    assert torch.equal(noise.draw(batch(text, left=2), 3)[0], alone)
    assert not torch.equal(noise.draw(batch(other), 3)[0], alone)
    assert not torch.equal(Noise().draw(batch(text), 3)[0], alone)


def test_the_cost_is_that_of_the_closed_form() -> None:
    """100 questions, sigma 40: a = .0625 and epsilon = 1.759 at delta 1e-5."""
    assert 100 / 40**2 == 0.0625
    assert vote_epsilon(100, 40.0, 1e-5) == pytest.approx(1.759, abs=5e-4)
    assert Combination("noisy_vote", None, 40.0).epsilon(100) == vote_epsilon(100, 40.0, 1e-5)
    assert vote_epsilon(100, 0.0, 1e-5) == math.inf and vote_epsilon(0, 40.0, 1e-5) == 0.0
    assert vote_epsilon(200, 40.0, 1e-5) > vote_epsilon(100, 40.0, 1e-5) > vote_epsilon(100, 80.0, 1e-5)


def test_no_order_of_the_divergence_gives_less() -> None:
    """(lambda q / s^2) + ln(1/delta) / (lambda - 1), over a fine grid of lambda."""
    spent, told = 0.0625, math.log(1e5)
    least = min(order * spent + told / (order - 1) for order in (1 + step / 1000 for step in range(1, 100_000)))
    assert vote_epsilon(100, 40.0, 1e-5) == pytest.approx(least, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "noisy_vote needs sigma"),
        ({"sigma": -1.0}, "sigma is a number of votes, 0 or more; got -1.0"),
        ({"sigma": 1.0, "weights": [1.0, 1.0, 1.0]}, "every teacher has one vote: leave weights out"),
        ({"sigma": 1.0, "delta": 0.0}, "delta lies between 0 and 1"),
    ],
)
def test_votes_that_promise_nothing_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        voters(**settings)
    with pytest.raises(RequestError, match="sigma is for combine: noisy_vote"):
        EnsembleTeacher((), sigma=1.0)


def test_what_has_no_class_for_a_text_cannot_be_voted_on() -> None:
    for name in ("regression", "multi_label_classification", "token_classification", "question_answering"):
        with pytest.raises(RequestError, match="noisy_vote needs one class for each text"):
            Combination("noisy_vote", None, 1.0).check_problem(get_problem(name))


def test_a_term_that_reads_one_teacher_alone_is_refused(tmp_path: Path) -> None:
    objective = Objective([(1.0, SoftTarget()), (1.0, HiddenState(), {"teacher": "t1"})])
    with pytest.raises(RequestError, match="a term reads t1 alone, and noisy_vote is private only where"):
        make_trainer(tmp_path, teacher=voters(sigma=1.0), objective=objective).train()


def test_a_resumed_training_asks_nothing_anew(tmp_path: Path) -> None:
    """The key comes from nowhere, and is kept in the checkpoints: the weights are those of the whole training."""
    args = {"optim": "adamw_torch", "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 3}
    objective = Objective([(0.5, HardLabel()), (0.5, SoftTarget(temperature=1.0))])
    whole = make_trainer(tmp_path, teacher=voters(sigma=2.0), objective=objective, args=args)
    whole.train()
    resumed = make_trainer(tmp_path, teacher=voters(sigma=2.0), objective=objective, args=args)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    expected, found = snapshot(whole.student), snapshot(resumed.student)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_batch_without_tokens_is_refused() -> None:
    with pytest.raises(RequestError, match="the batch has none"):
        Noise().draw({"labels": torch.tensor([0])}, 2)

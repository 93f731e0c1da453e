"""Losses between models of other tokens: what is compared by token is compared by the pieces that both cut alike."""

import dataclasses

import pytest
import torch
from torch import Tensor

from distilnlp.losses import Loss, Objective, get_loss, list_losses, loss_class
from distilnlp.losses.alignment import Comparable, mean_pieces
from distilnlp.outputs import Outputs
from distilnlp.problems import IGNORED, get_problem
from tests.losses.cases import CASES, LENGTHS, TOKENS, Case, outputs

BY_TOKEN = [
    case
    for case in CASES
    if loss_class(case.name).uses_teacher
    and loss_class(case.name).by_token
    and case.make().needs_student().hidden_states
    and not (case.make().needs_student().attention or case.make().needs_student().input_gradients)
]
OF_TEXTS = {"pkd", "alp_kd", "rail_kd"}  # beside the responses and the relations
IDENTITY = torch.stack([torch.arange(TOKENS).where(torch.arange(TOKENS) < length, -1) for length in LENGTHS])


def aligned(own: Tensor, theirs: Tensor, **columns: Tensor) -> dict[str, Tensor]:
    return {"alignment": own, "teacher_alignment": theirs, **columns}


def of_pieces(states: Tensor, alignment: Tensor) -> Tensor:
    """The definition, one piece at a time, ``(batch, pieces, width)``."""
    rows = [
        [
            states[row][alignment[row] == piece].mean(dim=0) if (alignment[row] == piece).any() else states[row, 0] * 0
            for piece in range(int(alignment.max()) + 1)
        ]
        for row in range(len(states))
    ]
    return torch.stack([torch.stack(row) for row in rows])


def test_only_losses_of_one_vector_a_text_or_of_logits_are_compared_as_they_are() -> None:
    as_they_are = {name for name in list_losses() if loss_class(name).uses_teacher and not loss_class(name).by_token}
    for name in as_they_are:
        bases = {base.__name__ for base in loss_class(name).__mro__}
        assert bases & {"ResponseLoss", "RelationalLoss"} or name in OF_TEXTS, name
    assert as_they_are >= OF_TEXTS
    assert loss_class("hidden_state").by_token


def test_the_state_of_a_piece_is_the_mean_of_its_tokens_whatever_stands_elsewhere() -> None:
    states = torch.tensor([[[1.0], [3.0], [8.0], [torch.inf]]])
    pieces = torch.tensor([[0, 0, 2, -1]])
    torch.testing.assert_close(mean_pieces(states, pieces, 3), torch.tensor([[[2.0], [0.0], [8.0]]]))


@pytest.mark.parametrize("case", BY_TOKEN, ids=lambda case: case.name)
def test_an_alignment_of_equal_tokens_changes_nothing(case: Case) -> None:
    student, teacher = outputs(0, case.classes), outputs(1, case.classes)
    if student.words is not None and case.make().needs_student().words:
        numbers = torch.arange(TOKENS).expand(len(LENGTHS), -1)
        student = dataclasses.replace(student, words=numbers)  # a piece is a word of its own
    loss, module = case.make(), case.module(student)
    plain = loss(student, teacher, case.batch(), module)
    batch = case.batch() | aligned(IDENTITY, IDENTITY)
    torch.testing.assert_close(loss(*Comparable(student, teacher, batch).of(loss), module), plain)


def test_hidden_states_of_other_tokens_are_compared_by_piece() -> None:
    """Pieces of (1, 2) and (2, 1) tokens; the student's last token and the teacher's have no counterpart."""
    generator = torch.Generator().manual_seed(0)
    h_s, h_t = (torch.randn(2, tokens, 3, generator=generator) for tokens in (4, 5))
    own = torch.tensor([[0, 1, 1, -1], [0, 0, 1, -1]])
    theirs = torch.tensor([[0, 0, 1, -1, -1], [0, 1, 1, 1, -1]])
    student = Outputs(hidden_states={1: h_s}, attention_mask=torch.ones(2, 4))
    teacher = Outputs(hidden_states={1: h_t}, attention_mask=torch.ones(2, 5))
    objective = Objective([(1.0, get_loss("hidden_state", layer_map=[[1, 1]]))])
    total, _ = objective(student, teacher, aligned(own, theirs))
    expected = (of_pieces(h_s, own) - of_pieces(h_t, theirs)).square().mean()
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_either_model_changes_nothing(side: str) -> None:
    own, theirs = IDENTITY, IDENTITY

    def pad(tensor: Tensor, count: int, filling: float) -> Tensor:
        rubbish = torch.full((len(tensor), count, *tensor.shape[2:]), filling, dtype=tensor.dtype)
        return torch.cat([rubbish, tensor] if side == "left" else [tensor, rubbish], dim=1)

    loss = get_loss("hidden_state", layer_map=[[1, 1]])
    states = [{1: outputs(seed).hidden_states[1]} for seed in (0, 1)]
    plain = Comparable(Outputs(hidden_states=states[0]), Outputs(hidden_states=states[1]), aligned(own, theirs))
    padded = Comparable(
        Outputs(hidden_states={1: pad(states[0][1], 2, 1e4)}),
        Outputs(hidden_states={1: pad(states[1][1], 3, torch.inf)}),
        aligned(pad(own, 2, -1), pad(theirs, 3, -1)),
    )
    torch.testing.assert_close(loss(*padded.of(loss)), loss(*plain.of(loss)))


def test_micro_batches_add_up() -> None:
    loss = get_loss("hidden_state", layer_map=[[1, 1]])

    def value(rows: slice) -> Tensor:
        sides = [Outputs(hidden_states={1: outputs(seed).hidden_states[1][rows]}) for seed in (0, 1)]
        return loss(*Comparable(*sides, aligned(IDENTITY[rows] // 2, IDENTITY[rows] // 2)).of(loss))

    torch.testing.assert_close((value(slice(0, 1)) + 3 * value(slice(1, 4))) / 4, value(slice(0, 4)))


def tags(tokens: int, rows: list[list[float]]) -> Outputs:
    problem = get_problem("token_classification")
    return Outputs(
        logits=torch.tensor([rows], dtype=torch.float64), attention_mask=torch.ones(1, tokens), problem=problem
    )


@pytest.mark.parametrize("marked", ["label_mask", "labels", "neither"])
def test_a_word_is_answered_by_the_teachers_first_token_of_it(marked: str) -> None:
    """The student has it in one token, the teacher in two; of the last one it has read nothing."""
    student = tags(4, [[9.0, 0.0], [1.0, 2.0], [0.0, 1.0], [5.0, 5.0]])
    teacher = tags(4, [[0.0, 9.0], [2.0, 0.0], [7.0, 7.0], [0.0, 4.0]])
    columns = {
        "label_mask": {"label_mask": torch.tensor([[0, 1, 1, 1]])},
        "labels": {"labels": torch.tensor([[IGNORED, 1, 0, 1]])},
        "neither": {},
    }[marked]
    batch = aligned(torch.tensor([[0, 1, 2, -1]]), torch.tensor([[0, 1, 1, 2]]), **columns)
    loss = get_loss("logit_mse")
    differences = [(0.0 - 9.0) ** 2 + (9 - 0) ** 2] if marked == "neither" else []
    differences += [(1 - 2) ** 2 + (2 - 0) ** 2, (0 - 0) ** 2 + (1 - 4) ** 2]
    expected = sum(differences) / len(differences) / 2
    assert loss(*Comparable(student, teacher, batch).of(loss)).item() == pytest.approx(expected)


def test_a_loss_without_a_teacher_sees_its_own_tokens_and_every_label() -> None:
    student, teacher = tags(2, [[1.0, 0.0], [0.0, 1.0]]), tags(1, [[1.0, 1.0]])
    labels = torch.tensor([[0, 1]])
    batch = aligned(torch.tensor([[0, -1]]), torch.tensor([[0]]), labels=labels)
    found = Comparable(student, teacher, batch).of(get_loss("hard_label"))
    assert found[0] is student and found[1] is None and found[2] is batch


class Custom(Loss):
    """One of a user's own, of which nobody says how it compares: by token."""

    name = "custom"


def test_a_loss_of_ones_own_that_reads_states_gets_the_pieces() -> None:
    sides = [Outputs(hidden_states={1: outputs(seed).hidden_states[1]}) for seed in (0, 1)]
    student, teacher, _ = Comparable(*sides, aligned(IDENTITY // 2, IDENTITY)).of(Custom())
    assert teacher is not None
    assert student.hidden_states[1].shape == teacher.hidden_states[1].shape
    assert student.attention_mask is not None and student.attention_mask.sum(dim=1).tolist() == [3, 2, 3, 1]

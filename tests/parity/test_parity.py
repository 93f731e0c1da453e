"""Our losses on the inputs of make_fixtures.py against torchdistill 1.1.5 and TextBrewer 0.2.1.post1.

Equal where their code agrees with the paper; where it does not, or their reduction is another, the difference is the
documented one. Both sides are in float64; to 1e-9 unless a test says otherwise.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo, Outputs
from tests.losses.cases import mask
from tests.parity.make_fixtures import BATCH, CLASSES, FIXTURES, HEADS, LABELS, LENGTHS, TOKENS, WIDTH, inputs

STORED = json.loads(FIXTURES.read_text())
TORCHDISTILL, TEXTBREWER = STORED["torchdistill"], STORED["textbrewer"]
MADE = {name: torch.from_numpy(array) for name, array in inputs().items()}
BATCH_OF_LABELS = {"labels": torch.tensor(LABELS)}
ONE = {"layer_map": [[1, 1]]}
TWO = {"layer_map": [[1, 1], [2, 2]]}


def model(name: str, lengths: tuple[int, ...] = (TOKENS,) * BATCH) -> Outputs:
    return Outputs(
        logits=MADE[f"{name}_logits"],
        hidden_states={1: MADE[f"{name}_states"], 2: MADE[f"{name}_second"]},
        queries={1: MADE[f"{name}_queries"]},
        keys={1: MADE[f"{name}_keys"]},
        attention_mask=mask(lengths, TOKENS),
    )


def ours(loss: str, lengths: tuple[int, ...] = (TOKENS,) * BATCH, **settings: object) -> float:
    return float(get_loss(loss, **settings)(model("student", lengths), model("teacher", lengths), BATCH_OF_LABELS))


def by_example(loss: str, lengths: tuple[int, ...] = (TOKENS,) * BATCH, **settings: object) -> np.ndarray:
    """The loss of each example alone."""

    def row(out: Outputs, i: int) -> Outputs:
        def cut(layers: dict[int, Tensor]) -> dict[int, Tensor]:
            return {layer: tensor[i : i + 1] for layer, tensor in layers.items()}

        return replace(
            out,
            hidden_states=cut(dict(out.hidden_states)),
            queries=cut(dict(out.queries)),
            keys=cut(dict(out.keys)),
            attention_mask=out.attention_mask[i : i + 1],  # type: ignore[index]
        )

    made = get_loss(loss, **settings)
    pair = model("student", lengths), model("teacher", lengths)
    return np.array([float(made(row(pair[0], i), row(pair[1], i), {})) for i in range(BATCH)])


def close(value: float, tolerance: float = 1e-9) -> object:
    return pytest.approx(value, rel=tolerance)


def test_the_inputs_are_those_of_the_fixtures() -> None:
    assert STORED["inputs"]["shapes"] == {name: list(tensor.shape) for name, tensor in MADE.items()}


def test_torchdistill_kd_whose_alpha_weighs_the_labels() -> None:
    """Trap P3: 1 - alpha is the weight of the teacher."""
    expected = 0.3 * ours("hard_label") + 0.7 * ours("soft_target", temperature=4.0)
    assert TORCHDISTILL["kd"] == close(expected)


def test_torchdistill_kd_without_labels_has_no_square_of_the_temperature() -> None:
    assert 16 * TORCHDISTILL["kd_without_labels"] == close(ours("soft_target", temperature=4.0))


def test_torchdistill_dist() -> None:
    assert TORCHDISTILL["dist"] == close(ours("dist", temperature=2.0, beta=1.5, gamma=2.0))


def test_torchdistill_logit_standardisation_divides_by_one_class_less() -> None:
    """Ours at T sqrt(C / (C - 1)), without its factor of T^2. Theirs adds 1e-7 to the deviation: to 1e-5."""
    temperature = 2.0 * (CLASSES / (CLASSES - 1)) ** 0.5
    expected = ours("logit_standardization", temperature=temperature) / temperature**2
    assert TORCHDISTILL["logit_std"] == close(expected, 1e-5)


def test_torchdistill_attention_transfer_as_in_the_authors_code() -> None:
    assert TORCHDISTILL["at_code"] == close(ours("attention_transfer", **ONE))


def test_torchdistill_attention_transfer_as_in_the_paper_is_the_norm_of_the_difference() -> None:
    assert TORCHDISTILL["at_paper"] == close(np.sqrt(TOKENS * by_example("attention_transfer", **ONE)).mean())


@pytest.mark.parametrize("loss", ["rkd_distance", "rkd_angle"])
def test_torchdistill_rkd(loss: str) -> None:
    assert TORCHDISTILL[loss] == close(ours(loss, **ONE))


def test_torchdistill_pkt_counts_the_diagonal_and_divides_by_the_batch_once_more() -> None:
    """To 1e-5: theirs adds 1e-7 to lengths and probabilities, ours to the kernel."""
    assert BATCH * TORCHDISTILL["pkt"] == close(ours("pkt", include_self=True, **ONE), 1e-5)
    assert ours("pkt", **ONE) != close(ours("pkt", include_self=True, **ONE), 1e-2)


def test_torchdistill_similarity_preserving_scales_rows_by_the_sum_of_sizes() -> None:
    """The paper divides each row by its Euclidean length."""

    def value(order: int) -> float:
        scaled = []
        for name in ("student", "teacher"):
            a = MADE[f"{name}_states"][:, 0].numpy()
            scaled.append(a @ a.T / np.linalg.norm(a @ a.T, ord=order, axis=1, keepdims=True))
        return float(((scaled[0] - scaled[1]) ** 2).mean())

    assert TORCHDISTILL["sp"] == close(value(1))
    assert ours("similarity_preserving", **ONE) == close(value(2))


def test_torchdistill_vid() -> None:
    info = ModelInfo("model", 1, WIDTH, HEADS, CLASSES)
    loss = get_loss("vid", **ONE)
    module = loss.make_module(info, info).double()  # type: ignore[union-attr]
    with torch.no_grad():
        net = module["1"]  # type: ignore[index]
        net.mean.weight.copy_(torch.eye(WIDTH))
        net.mean.bias.zero_()
        net.raw_variance.copy_(torch.log(torch.expm1(MADE["variance"] - 1e-5)))
    assert loss(model("student"), model("teacher"), {}, module).item() == close(TORCHDISTILL["vid"])


def test_torchdistill_flow_sums_the_lengths_of_columns() -> None:
    """The paper (equation 2) has the squared difference."""
    flows = [
        np.einsum("btc,btd->bcd", MADE[f"{name}_states"], MADE[f"{name}_second"]) / TOKENS
        for name in ("student", "teacher")
    ]
    difference = flows[0] - flows[1]
    assert TORCHDISTILL["fsp"] == close(float(np.linalg.norm(difference, axis=1).sum() / BATCH))
    assert ours("fsp", **TWO) == close(float((difference**2).mean()))


def test_torchdistill_correlation_congruence_is_not_squared() -> None:
    """On vectors of length 1, to which the paper scales and they do not: a norm in place of its square."""
    assert (TORCHDISTILL["cc_of_units"] * BATCH) ** 2 == close(ours("cc", **ONE))


def test_torchdistill_factor_transfer_is_a_mean_over_the_factors() -> None:
    """Ours is divided by the root of their number, not by their number. States stand for factors."""
    info = ModelInfo("model", 1, WIDTH, HEADS, CLASSES)
    loss = get_loss("factor_transfer", **ONE)
    module = loss.make_module(info, info)
    assert module is not None
    for part in ("paraphrase", "restore", "translate"):
        setattr(module["1"], part, torch.nn.Identity())  # type: ignore[index]
    value = loss(model("student"), model("teacher"), {}, module).item()
    assert TORCHDISTILL["ft"] * (TOKENS * WIDTH) ** 0.5 == close(value)


def test_torchdistill_contrast_with_a_memory_that_holds_the_batch() -> None:
    """To 1e-5: theirs adds 1e-7 to the odds."""
    info = ModelInfo("model", 1, WIDTH, HEADS, CLASSES)
    loss = get_loss("crd", temperature=0.5, dimension=None, queue=0, **ONE)
    value = loss(model("student"), model("teacher"), {}, loss.make_module(info, info)).item()
    assert TORCHDISTILL["crd_of_units"] == close(value, 1e-5)


@pytest.mark.parametrize("temperature", [1, 4])
def test_textbrewer_soft_cross_entropy(temperature: int) -> None:
    assert TEXTBREWER[f"ce_{temperature}"] == close(ours("soft_cross_entropy", temperature=float(temperature)))


def test_textbrewer_has_no_square_of_the_temperature() -> None:
    """Trap P2: its cross-entropy less the teacher's entropy is ours over T^2."""
    p = (MADE["teacher_logits"] / 4).softmax(dim=-1)
    entropy = float(-(p * p.log()).sum(dim=-1).mean())
    assert TEXTBREWER["ce_4"] - entropy == close(ours("soft_target", temperature=4.0) / 16)


def test_textbrewer_logit_mse_divides_the_logits_by_the_temperature() -> None:
    assert TEXTBREWER["mse_1"] == close(ours("logit_mse"))
    assert TEXTBREWER["mse_2"] == close(ours("logit_mse") / 4)


@pytest.mark.parametrize(
    ("theirs", "loss"),
    [
        ("hidden_full", "hidden_state"),
        ("cosine_full", "hidden_state_cosine"),
        ("attention_full", "attention_scores"),
        ("pkd", "pkd"),
    ],
)
def test_textbrewer_losses_of_layers_without_padding(theirs: str, loss: str) -> None:
    assert TEXTBREWER[theirs] == close(ours(loss, **ONE))


@pytest.mark.parametrize(
    ("theirs", "loss", "power"), [("hidden_masked", "hidden_state", 1), ("attention_masked", "attention_scores", 2)]
)
def test_textbrewer_weighs_examples_by_their_tokens_or_pairs(theirs: str, loss: str, power: int) -> None:
    weights = np.array(LENGTHS, dtype=float) ** power
    assert TEXTBREWER[theirs] == close(np.average(by_example(loss, LENGTHS, **ONE), weights=weights))
    assert ours(loss, LENGTHS, **ONE) == close(by_example(loss, LENGTHS, **ONE).mean())


def test_textbrewer_without_a_mask_counts_padding() -> None:
    """Trap P4."""
    assert TEXTBREWER["hidden_no_mask"] == close(ours("hidden_state", **ONE))
    assert TEXTBREWER["hidden_no_mask"] != close(ours("hidden_state", LENGTHS, **ONE), 1e-3)


def test_textbrewer_without_a_mask_takes_negative_scores_for_masked_ones() -> None:
    """Trap P11."""
    s, t = (model(name).get_attention_scores(1) for name in ("student", "teacher"))
    cut = [scores.where(scores > -1e-3, scores.new_zeros(())) for scores in (s, t)]
    assert TEXTBREWER["attention_no_mask"] == close(float((cut[0] - cut[1]).square().mean()))
    assert TEXTBREWER["attention_no_mask"] != close(ours("attention_scores", **ONE), 1e-2)


def test_textbrewer_sums_over_heads_where_ours_takes_their_mean() -> None:
    assert TEXTBREWER["attention_sum"] == close(HEADS**2 * ours("attention_scores", heads="mean", **ONE))


@pytest.mark.parametrize(("theirs", "lengths"), [("fsp_full", (TOKENS,) * BATCH), ("fsp_masked", LENGTHS)])
def test_textbrewer_flow(theirs: str, lengths: tuple[int, ...]) -> None:
    assert TEXTBREWER[theirs] == close(ours("fsp", lengths, **TWO))


def test_textbrewer_selectivity_does_not_scale_and_takes_a_mean() -> None:
    """Over pairs of tokens, where the paper has a sum, of dimensions whose length is left as it is."""
    assert TEXTBREWER["nst_of_units"] * TOKENS**2 == close(ours("nst", **ONE))
    assert TEXTBREWER["nst"] * TOKENS**2 != close(ours("nst", **ONE), 1e-2)


def test_textbrewer_attention_cross_entropy_less_its_floor_is_our_kl() -> None:
    floor = TEXTBREWER["attention_ce_self"]
    assert TEXTBREWER["attention_ce"] - floor == close(ours("attention_probabilities", **ONE))

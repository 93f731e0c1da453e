"""What TextBrewer and torchdistill compute from the same tensors: equal, or different by what is said here."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distilnlp.losses import get_loss
from distilnlp.outputs import Outputs
from tests.losses.cases import Case
from tests.parity.inputs import BATCH, VALID, WIDTH, make_inputs

FIXTURES = json.loads(Path(__file__).with_name("fixtures.json").read_text(encoding="utf-8"))
PEERS = {name: value for library in FIXTURES.values() for name, value in library["values"].items()}
ONE = {"layer_map": [[1, 1]]}

Both = tuple[Outputs, Outputs]


def both(masked: bool = True) -> Both:
    x = make_inputs()
    student, teacher = (
        Outputs(
            logits=x[f"{who}_logits"],
            hidden_states={1: x[f"{who}_states"]},
            queries={1: x[f"{who}_queries"]},
            keys={1: x[f"{who}_keys"]},
            attention_mask=x["mask"] if masked else None,
        )
        for who in "st"
    )
    return student, teacher


def ours(name: str, pair: Both | None = None, module: nn.Module | None = None, **settings: object) -> float:
    student, teacher = pair or both()
    value: Tensor = get_loss(name, **settings)(student, teacher, {"labels": make_inputs()["labels"]}, module)
    return value.item()


def same(mine: float, theirs: str, tolerance: float = 2e-6) -> None:
    assert mine == pytest.approx(PEERS[theirs], rel=tolerance)


def test_the_fixtures_are_of_the_versions_that_are_named() -> None:
    assert {name: library["version"] for name, library in FIXTURES.items()} == {
        "textbrewer": "0.2.1.post1",
        "torchdistill": "1.1.5",
    }


# ---- equal ----


def test_hinton_is_torchdistills_whose_alpha_weighs_the_labels() -> None:
    """Trap P3: in PKD's code alpha weighs the teacher."""
    same(0.3 * ours("hard_label") + 0.7 * ours("soft_target", temperature=2.0), "KDLoss, T=2, alpha=.3")


def test_dist_is_torchdistills() -> None:
    same(ours("dist", temperature=2.0, beta=2.0, gamma=0.5), "DISTLoss, tau=2")


def test_attention_transfer_is_torchdistills_mode_code() -> None:
    same(ours("attention_transfer", **ONE), "ATLoss, code")


def test_rkd_is_torchdistills() -> None:
    same(25 * ours("rkd_distance", **ONE) + 50 * ours("rkd_angle", **ONE), "RKDLoss, 25, 50", 1e-5)


def test_vid_is_torchdistills() -> None:
    info = Case("x").info(width=WIDTH)
    module = get_loss("vid", **ONE).make_module(info, info)
    assert isinstance(module, nn.ModuleDict)
    with torch.no_grad():
        module["1"].mean.weight.copy_(torch.eye(WIDTH))
        module["1"].mean.bias.zero_()
        module["1"].raw_variance.copy_((make_inputs()["variance"] - 1e-5).expm1().log())
    same(ours("vid", module=module, **ONE), "VIDLoss")


def test_hidden_states_are_textbrewers_with_its_mask() -> None:
    same(ours("hidden_state", **ONE), "hid_mse_loss, masked")
    same(ours("hidden_state_cosine", **ONE), "cos_loss, masked")


def test_attention_scores_are_textbrewers_with_its_mask() -> None:
    same(ours("attention_scores", **ONE), "att_mse_loss, masked")


def test_pkd_is_textbrewers_and_the_papers_code_smaller_by_the_width() -> None:
    same(ours("pkd", **ONE), "pkd_loss")
    student, teacher = both()
    units = [nn.functional.normalize(each.hidden_states[1][:, 0], dim=-1) for each in (student, teacher)]
    assert ours("pkd", **ONE) / WIDTH == pytest.approx(nn.functional.mse_loss(*units).item(), rel=1e-6)


# ---- different, and by what ----


def test_torchdistill_without_labels_drops_the_square_of_the_temperature() -> None:
    """Trap P2."""
    assert ours("soft_target", temperature=2.0) == pytest.approx(4 * PEERS["KDLoss, T=2, no labels"], rel=2e-6)


def test_textbrewer_has_no_square_of_the_temperature() -> None:
    """Trap P2. Its MSE divides both logits by T."""
    assert ours("logit_mse") == pytest.approx(4 * PEERS["kd_mse_loss, T=2"], rel=2e-6)
    student, teacher = both()
    half = [Outputs(logits=each.get_logits() / 2) for each in (student, teacher)]
    same(ours("soft_cross_entropy", (half[0], half[1])), "kd_ce_loss, T=2")


def test_torchdistills_standardized_logits_have_the_deviation_of_a_sample() -> None:
    """The paper divides by the number of classes, they by one less: a temperature larger by sqrt(C / (C - 1))."""
    classes = make_inputs()["s_logits"].shape[-1]
    larger = 2.0 * (classes / (classes - 1)) ** 0.5
    soft = ours("logit_standardization", temperature=larger) * (2.0 / larger) ** 2
    same(0.3 * ours("hard_label") + 0.7 * soft, "LogitStdKDLoss, T=2, alpha=.3")


def test_torchdistills_similarity_preserving_scales_rows_by_their_sum() -> None:
    """The paper by their length: its normalize(x, 1) is the 1-norm."""
    rows = [each.hidden_states[1][:, 0] @ each.hidden_states[1][:, 0].T for each in both()]
    by_sum, by_length = ([nn.functional.normalize(each, p=p) for each in rows] for p in (1, 2))
    same(nn.functional.mse_loss(*by_sum).item(), "SPKDLoss")
    assert ours("similarity_preserving", **ONE) == pytest.approx(nn.functional.mse_loss(*by_length).item(), rel=1e-5)


def test_torchdistills_pkt_averages_over_the_square_of_the_batch() -> None:
    """And counts each text's similarity with itself, as the authors' code does."""
    assert ours("pkt", include_self=True, **ONE) == pytest.approx(BATCH * PEERS["PKTLoss"], rel=1e-4)


def test_without_its_mask_textbrewer_counts_padding() -> None:
    """Trap P11: the mask is optional there."""
    same(ours("hidden_state", both(masked=False), **ONE), "hid_mse_loss")
    assert ours("hidden_state", **ONE) != pytest.approx(PEERS["hid_mse_loss"], rel=1e-3)


def test_without_its_mask_textbrewer_sets_negative_scores_to_0() -> None:
    """Trap P11: legitimate scores below -1e-3 are taken for masked ones."""
    assert ours("attention_scores", both(masked=False), **ONE) > 2 * PEERS["att_mse_loss"]
    x = make_inputs()
    scores = [x[f"{who}_queries"] @ x[f"{who}_keys"].transpose(-1, -2) / (WIDTH // 2) ** 0.5 for who in "st"]
    cut = [each.where(each > -1e-3, each.new_zeros(())) for each in scores]
    same(nn.functional.mse_loss(*cut).item(), "att_mse_loss")
    assert x["mask"].shape[1] > VALID

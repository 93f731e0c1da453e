"""Write what other libraries compute on seeded random inputs to fixtures.json, for test_parity.py to compare with.

Each library runs in an environment of its own, since their pins exclude each other and ours; the other's part of the
file stays as it is. From the root of the checkout::

    python -m venv .venv-torchdistill && .venv-torchdistill/bin/pip install torchdistill==1.1.5
    .venv-torchdistill/bin/python tests/parity/make_fixtures.py torchdistill
    python -m venv .venv-textbrewer && .venv-textbrewer/bin/pip install textbrewer==0.2.1.post1
    .venv-textbrewer/bin/python tests/parity/make_fixtures.py textbrewer

The inputs come from numpy's RandomState, whose numbers are the same in every version. All is in float64.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

SEED = 20
BATCH, TOKENS, WIDTH, HEADS, CLASSES = 4, 5, 8, 2, 3
LENGTHS = (5, 3, 4, 2)
LABELS = (0, 2, 1, 0)
FIXTURES = Path(__file__).with_name("fixtures.json")


def inputs(seed: int = SEED) -> dict[str, np.ndarray]:
    """Logits, states of two layers, queries and keys of two models, and a variance for each dimension."""
    random = np.random.RandomState(seed)
    made = {}
    for model in ("student", "teacher"):
        made[f"{model}_logits"] = random.standard_normal((BATCH, CLASSES))
        made[f"{model}_states"] = random.standard_normal((BATCH, TOKENS, WIDTH))
        made[f"{model}_queries"] = random.standard_normal((BATCH, HEADS, TOKENS, WIDTH // HEADS))
        made[f"{model}_keys"] = random.standard_normal((BATCH, HEADS, TOKENS, WIDTH // HEADS))
    made["variance"] = np.exp(random.standard_normal(WIDTH))
    for model in ("student", "teacher"):
        made[f"{model}_second"] = random.standard_normal((BATCH, TOKENS, WIDTH))
    return made


def unit(array: np.ndarray, axis: int) -> np.ndarray:
    return array / np.linalg.norm(array, axis=axis, keepdims=True)


def scores(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return queries @ keys.swapaxes(-1, -2) / np.sqrt(queries.shape[-1])


def torchdistill() -> dict[str, float]:
    from torchdistill.losses import mid_level as theirs

    made = {name: torch.from_numpy(array) for name, array in inputs().items()}
    labels = torch.tensor(LABELS)
    logits = ("m", "output", "m", "output")
    s_logits, t_logits = ({"m": {"output": made[f"{model}_logits"]}} for model in ("student", "teacher"))
    s_first, t_first = ({"m": {"output": made[f"{model}_states"][:, 0]}} for model in ("student", "teacher"))
    # Tokens take the place of pixels: (batch, channels, height, width).
    maps = {model: made[f"{model}_states"].transpose(1, 2)[..., None] for model in ("student", "teacher")}
    s_map, t_map = ({"m": {"output": maps[model]}} for model in ("student", "teacher"))
    pair = {"p": {"student": {"io": "output", "path": "m"}, "teacher": {"io": "output", "path": "m"}}}
    mean_and_variance = {"m": {"output": (maps["student"], made["variance"][None, :, None, None])}}
    pooled = {"student_output_path": "m", "teacher_output_path": "m"}
    # What they leave to a layer in front of the loss, or do not do at all: vectors of length 1.
    s_unit, t_unit = (torch.from_numpy(unit(made[f"{m}_states"][:, 0].numpy(), 1)) for m in ("student", "teacher"))
    steps = {"first": "states", "second": "second"}
    flows = [
        {step: {"output": made[f"{model}_{name}"].transpose(1, 2)[..., None]} for step, name in steps.items()}
        for model in ("student", "teacher")
    ]
    flow = {f"{model}_{step}": {"io": "output", "path": step} for model in ("student", "teacher") for step in steps}
    kernel = {"type": "gaussian", "gamma": 0.4, "max_p": 2}
    s_factors, t_factors = ({"f": {"output": made[f"{model}_states"]}} for model in ("student", "teacher"))
    found = {
        "kd": theirs.KDLoss(*logits, temperature=4.0, alpha=0.3)(s_logits, t_logits, labels),
        "kd_without_labels": theirs.KDLoss(*logits, temperature=4.0, alpha=0.3)(s_logits, t_logits),
        "dist": theirs.DISTLoss(*logits, beta=1.5, gamma=2.0, tau=2.0)(s_logits, t_logits),
        "logit_std": theirs.LogitStdKDLoss(*logits, temperature=2.0, alpha=0.0)(s_logits, t_logits),
        "at_code": theirs.ATLoss(pair, mode="code")(s_map, t_map),
        "at_paper": theirs.ATLoss(pair, mode="paper")(s_map, t_map),
        "rkd_distance": theirs.RKDLoss("m", "m", 1.0, 0.0, "mean")(s_first, t_first),
        "rkd_angle": theirs.RKDLoss("m", "m", 0.0, 1.0, "mean")(s_first, t_first),
        "pkt": theirs.PKTLoss(*logits)(s_first, t_first),
        "sp": theirs.SPKDLoss(**pooled, reduction="batchmean")(s_first, t_first),
        "vid": theirs.VIDLoss(pair)(mean_and_variance, t_map),
        "fsp": theirs.FSPLoss({"pair": flow})(*flows),
        "cc_of_units": theirs.CCKDLoss("m", "m", kernel, "batchmean")(
            {"m": {"output": s_unit}}, {"m": {"output": t_unit}}
        ),
        "ft": theirs.FTLoss(p=1, paraphraser_path="f", translator_path="f")(s_factors, t_factors),
        "crd_of_units": crd(theirs.CRDLoss, s_unit, t_unit),
    }
    return {name: float(value) for name, value in found.items()}


def crd(theirs: type, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The half of their loss in which the student's vectors meet a memory of the teacher's: here all of the batch."""

    loss = theirs("s", "e", "t", WIDTH, BATCH, BATCH - 1, BATCH, temperature=0.5).double()
    loss.memory_v2.copy_(teacher)
    order = torch.stack([torch.arange(BATCH).roll(-i) for i in range(BATCH)])  # the text itself, then the others
    of_student, _ = loss.contrast_memory(student, teacher, torch.arange(BATCH), order)
    value: torch.Tensor = loss.compute_contrast_loss(of_student)
    return value


def textbrewer() -> dict[str, float]:
    from textbrewer import losses as theirs

    made = inputs()
    mask = torch.tensor([[int(i < length) for i in range(TOKENS)] for length in LENGTHS])
    full = torch.ones_like(mask)
    for model in ("student", "teacher"):
        made[f"{model}_scores"] = scores(made[f"{model}_queries"], made[f"{model}_keys"])

    def of(what: str) -> list[torch.Tensor]:
        return [torch.from_numpy(made[f"{model}_{what}"]) for model in ("student", "teacher")]

    teacher_twice = [of("scores")[1]] * 2
    flows = [list(pair) for pair in zip(of("states"), of("second"), strict=True)]
    for model in ("student", "teacher"):
        made[f"{model}_units"] = unit(made[f"{model}_states"], axis=1)
    found = {
        "ce_1": theirs.kd_ce_loss(*of("logits")),
        "ce_4": theirs.kd_ce_loss(*of("logits"), temperature=4.0),
        "mse_1": theirs.kd_mse_loss(*of("logits")),
        "mse_2": theirs.kd_mse_loss(*of("logits"), temperature=2.0),
        "hidden_full": theirs.hid_mse_loss(*of("states"), mask=full),
        "hidden_masked": theirs.hid_mse_loss(*of("states"), mask=mask),
        "hidden_no_mask": theirs.hid_mse_loss(*of("states")),
        "cosine_full": theirs.cos_loss(*of("states")),
        "attention_full": theirs.att_mse_loss(*of("scores"), mask=full),
        "attention_masked": theirs.att_mse_loss(*of("scores"), mask=mask),
        "attention_no_mask": theirs.att_mse_loss(*of("scores")),
        "attention_sum": theirs.att_mse_sum_loss(*of("scores"), mask=full),
        "attention_ce": theirs.att_ce_loss(*of("scores"), mask=full),
        "attention_ce_self": theirs.att_ce_loss(*teacher_twice, mask=full),
        "pkd": theirs.pkd_loss(*of("states")),
        "fsp_full": theirs.fsp_loss(*flows, mask=full),
        "fsp_masked": theirs.fsp_loss(*flows, mask=mask),
        "nst_of_units": theirs.mmd_loss(*([units, units] for units in of("units"))),
        "nst": theirs.mmd_loss(*([states, states] for states in of("states"))),
    }
    return {name: float(value) for name, value in found.items()}


if __name__ == "__main__":
    library = sys.argv[1]
    stored = json.loads(FIXTURES.read_text()) if FIXTURES.exists() else {}
    stored["inputs"] = {"seed": SEED, "shapes": {name: list(array.shape) for name, array in inputs().items()}}
    stored[library] = {"torchdistill": torchdistill, "textbrewer": textbrewer}[library]()
    FIXTURES.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")

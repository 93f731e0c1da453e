"""Write what TextBrewer and torchdistill compute from `inputs.py` into ``fixtures.json``.

Each library in an environment of its own, from the folder of the repository; the other one's numbers stay::

    python -m pip install textbrewer==0.2.1.post1 torch transformers numpy && python -m tests.parity.make_fixtures
    python -m pip install torchdistill==1.1.5 torch torchvision numpy && python -m tests.parity.make_fixtures

The tests compare with the numbers that are stored and need neither.
"""

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import Tensor

from tests.parity.inputs import BATCH, TOKENS, VALID, WIDTH, make_inputs

FILE = Path(__file__).with_name("fixtures.json")
Values = dict[str, float]


def from_textbrewer() -> Values:
    """The functions of textbrewer.losses."""
    from textbrewer import losses

    x = make_inputs()
    scores = {who: x[f"{who}_queries"] @ x[f"{who}_keys"].transpose(-1, -2) / (WIDTH // 2) ** 0.5 for who in "st"}
    values = {
        "kd_mse_loss, T=2": losses.kd_mse_loss(x["s_logits"], x["t_logits"], 2.0),
        "kd_ce_loss, T=2": losses.kd_ce_loss(x["s_logits"], x["t_logits"], 2.0),
        "hid_mse_loss, masked": losses.hid_mse_loss(x["s_states"], x["t_states"], x["mask"]),
        "hid_mse_loss": losses.hid_mse_loss(x["s_states"], x["t_states"]),
        "cos_loss, masked": losses.cos_loss(x["s_states"], x["t_states"], x["mask"]),
        "pkd_loss": losses.pkd_loss(x["s_states"], x["t_states"]),
        "att_mse_loss, masked": losses.att_mse_loss(scores["s"], scores["t"], x["mask"]),
        "att_mse_loss": losses.att_mse_loss(scores["s"], scores["t"]),
    }
    return {name: float(value) for name, value in values.items()}


def from_torchdistill() -> Values:
    """The losses of torchdistill.losses.mid_level, each fed its tensors by name."""
    from torchdistill.losses import mid_level

    x = make_inputs()
    logits = {"student_module_path": "m", "student_module_io": "output"}
    logits |= {"teacher_module_path": "m", "teacher_module_io": "output"}
    io = {"io": "output", "path": "m"}
    pair = {"pair": {"student": io, "teacher": io, "weight": 1}}
    paths = {"student_output_path": "m", "teacher_output_path": "m"}
    first = {who: x[f"{who}_states"][:, 0] for who in "st"}
    maps = {who: x[f"{who}_states"][:, :VALID].transpose(1, 2)[..., None] for who in "st"}

    def value(loss: Callable[..., Tensor], student: object, teacher: object, *targets: Tensor) -> float:
        return float(loss({"m": {"output": student}}, {"m": {"output": teacher}}, *targets))

    def of_logits(loss: Callable[..., Tensor], *targets: Tensor) -> float:
        return value(loss, x["s_logits"], x["t_logits"], *targets)

    knowledge = {"temperature": 2.0, "alpha": 0.3, "beta": 0.7}
    rkd = {"dist_factor": 25.0, "angle_factor": 50.0, "reduction": "mean"}
    dist = mid_level.DISTLoss(**logits, beta=2.0, gamma=0.5, tau=2.0)
    vid = (x["s_states"][:, :VALID], x["variance"])
    return {
        "KDLoss, T=2, alpha=.3": of_logits(mid_level.KDLoss(**logits, **knowledge), x["labels"]),
        "KDLoss, T=2, no labels": of_logits(mid_level.KDLoss(**logits, **knowledge)),
        "LogitStdKDLoss, T=2, alpha=.3": of_logits(mid_level.LogitStdKDLoss(**logits, **knowledge), x["labels"]),
        "DISTLoss, tau=2": of_logits(dist),
        "ATLoss, code": value(mid_level.ATLoss(pair, "code"), maps["s"], maps["t"]),
        "PKTLoss": value(mid_level.PKTLoss(**logits), first["s"].clone(), first["t"].clone()),
        "RKDLoss, 25, 50": value(mid_level.RKDLoss(**paths, **rkd), first["s"], first["t"]),
        "SPKDLoss": value(mid_level.SPKDLoss(**paths, reduction="batchmean"), first["s"], first["t"]),
        "VIDLoss": value(mid_level.VIDLoss(pair), vid, x["t_states"][:, :VALID]),
    }


def main() -> None:
    """Of whichever of the two is installed."""
    fixtures = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    for name, run in (("textbrewer", from_textbrewer), ("torchdistill", from_torchdistill)):
        try:
            found = version(name)
        except PackageNotFoundError:
            print(f"{name}: not installed here, left as it is")
            continue
        fixtures[name] = {"version": found, "shape": [BATCH, TOKENS, WIDTH], "values": run()}
        print(f"{name} {found}: {len(fixtures[name]['values'])} values")
    FILE.write_text(json.dumps(fixtures, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

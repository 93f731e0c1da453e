"""Peak memory of a training step at length 512, over the same losses from everything that the models can return.

Both sides: teacher and student, hidden states (squared error) and attention maps (KL) of the mapped layers, backward,
an AdamW step, float32. The other side asks both models for ``output_attentions=True, output_hidden_states=True``, for
which they need eager attention. Each measurement in a process of its own, in turns: by how much its resident memory
(on a GPU that of its tensors) grew, at most, over what it was with the models loaded.

Goal: at most 0.6, with all layers mapped. Also how the peak grows with the number of layers mapped.
"""

import copy
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks._harness import (
    Row,
    Spread,
    alternate,
    answer,
    device,
    in_process,
    make_parser,
    make_tokenizer,
    make_trainer,
    parse,
    peak_growth_mb,
    print_table,
    ratio,
    set_up,
    write_results,
)

GOAL = 0.6
QUICK: dict[str, object] = {"rounds": 1, "length": 64, "batch_size": 4}
PAIRS = ((3, 6), (2, 4), (1, 2))  # of (student layer, teacher layer): the first one, two or three
Pairs = Sequence[tuple[int, int]]
OURS, OTHER = "distilnlp", "all outputs, eager"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = make_parser(__doc__, batch_size=8)
    parser.add_argument("--length", type=int, default=512, help="tokens (default: %(default)s)")
    arguments = parse(parser, QUICK, argv)
    rows: list[Row] = []
    for layers in range(1, len(PAIRS) + 1):
        costs = alternate(
            {
                side: lambda side=side, layers=layers: in_process(
                    "benchmarks.memory",
                    "--measure",
                    side,
                    layers,
                    arguments.batch_size,
                    arguments.length,
                    arguments.threads,
                )["mb"]
                for side in (OURS, OTHER)
            },
            arguments.rounds,
            warm_up=0,
        )
        rows += [
            {"layers mapped": layers, "side": side, "peak MB": Spread.of(mb), f"x {OTHER}": ratio(mb, costs[OTHER])}
            for side, mb in costs.items()
        ]
    print_table(f"growth of the memory in one step, batch {arguments.batch_size} x {arguments.length}", rows)
    last = rows[-2][f"x {OTHER}"]
    assert isinstance(last, Spread)
    print(f"\ngoal, with all layers mapped: at most {GOAL}")
    write_results("memory", arguments, rows, goal=GOAL, met=last.median <= GOAL)


# ---- in a process of its own ----


def measure(side: str, layers: int, batch_size: int, length: int, threads: int) -> None:
    """One step of one side; tells its peak."""
    set_up(threads)
    import torch

    from distilnlp import build_student
    from distilnlp.models.loading import MINILM, load_classifier

    teacher = load_classifier(MINILM, label_names=("no", "yes"), problem="single_label_classification")
    teacher, student = teacher.to(device()), build_student(teacher, layers=3).to(device())
    if side == OTHER:
        for model in (teacher, student):
            model.set_attn_implementation("eager")
    torch.manual_seed(0)
    tokens = torch.randint(1000, 20000, (batch_size, length))
    for model in (copy.deepcopy(teacher), copy.deepcopy(student)):  # warm-up, of what is loaded at the first use
        model(input_ids=tokens[:1, :8].to(device())).logits.sum().backward()
    with tempfile.TemporaryDirectory() as folder:
        make = _distilnlp if side == OURS else _all_outputs
        answer(mb=peak_growth_mb(make(teacher, student, tokens, PAIRS[:layers], folder)))


def _distilnlp(teacher: Any, student: Any, tokens: Any, pairs: Pairs, folder: str) -> Callable[[], object]:
    from datasets import Dataset

    from distilnlp import LayerMap, Objective
    from distilnlp.losses import AttentionProbabilities, HiddenState
    from distilnlp.teachers import CacheSettings, FrozenTeacher

    rows = {"input_ids": tokens.tolist(), "attention_mask": [[1] * tokens.shape[1]] * len(tokens)}
    layer_map = LayerMap.of(sorted(pairs))
    trainer = make_trainer(
        folder=folder,
        training={"max_steps": 1, "per_device_train_batch_size": len(tokens)},
        model=student,
        teacher=FrozenTeacher(teacher),
        objective=Objective([(1.0, HiddenState(layer_map)), (1.0, AttentionProbabilities(layer_map))]),
        train_dataset=Dataset.from_dict({**rows, "length": [tokens.shape[1]] * len(tokens)}),
        processing_class=make_tokenizer(),
        cache=CacheSettings(use="never"),
    )
    return trainer.train


def _all_outputs(teacher: Any, student: Any, tokens: Any, pairs: Pairs, folder: str) -> Callable[[], object]:
    import torch

    teacher.eval().requires_grad_(False)
    student.train()
    optimizer = torch.optim.AdamW(student.parameters(), fused=True)
    tokens = tokens.to(device())

    def step() -> None:
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        asked = {"output_attentions": True, "output_hidden_states": True}
        with torch.no_grad():
            taught = teacher(**inputs, **asked)
        learned = student(**inputs, **asked)
        loss = torch.zeros((), device=tokens.device)
        for s, t in pairs:
            hidden = (learned.hidden_states[s] - taught.hidden_states[t]).square().mean()
            log_p, log_q = (
                side.clamp_min(1e-30).log() for side in (taught.attentions[t - 1], learned.attentions[s - 1])
            )
            attention = (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()
            loss = loss + (hidden + attention) / len(pairs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()

    return step


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()

"""What holds on a GPU: the losses and the steps of the CPU, half precision, the cache, the memory. Needs CUDA."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distilnlp.losses import AttentionProbabilities, HiddenState, Objective, SoftTarget
from distilnlp.outputs import Outputs
from distilnlp.teachers import CacheSettings
from tests.losses.cases import CASES, Case, mapped, outputs
from tests.runs import dataset, largest_difference, make_trainer, snapshot, student_model, teacher_model
from tests.tiny import BACKBONES, VOCAB, tiny_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def trained(folder: Path, kind: str = "bert", **changes: Any) -> Any:
    """A trainer that has trained, without dropout, whose random numbers differ from device to device."""
    changes.setdefault("model", student_model(kind, dropout=False))
    changes.setdefault("teacher", teacher_model(kind))
    trainer = make_trainer(folder, **changes)
    trainer.train()
    return trainer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_loss_is_what_it_is_on_the_cpu_and_so_is_its_gradient(case: Case) -> None:
    def value(device: str) -> tuple[Tensor, Tensor]:
        leaves: list[Tensor] = []

        def move(tensor: Tensor, _: int) -> Tensor:
            if not tensor.is_floating_point():
                return tensor.to(device)
            leaves.append(tensor.to(device).requires_grad_())
            return leaves[-1]

        def moved(seed: int) -> Outputs:
            return mapped(outputs(seed, case.classes, torch.float64), move)

        student = moved(0)
        own = [*leaves]
        batch = {name: tensor.to(device) for name, tensor in case.batch().items()}
        cpu = mapped(student, lambda tensor, _: tensor.detach().cpu())
        module = case.module(cpu)
        module = None if module is None else module.to(device)
        loss = case.make()(student, moved(1), batch, module)
        loss.backward()
        grads = [leaf.grad.flatten().cpu() for leaf in own if leaf.grad is not None]
        return loss.detach().cpu(), torch.cat(grads)

    for mine, other in zip(value("cuda"), value("cpu"), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_training_takes_the_steps_of_the_cpu(kind: str, tmp_path: Path) -> None:
    start = student_model(kind, dropout=False)
    objective = Objective([(1.0, SoftTarget()), (1.0, HiddenState()), (1.0, AttentionProbabilities())])
    mine, other = (
        trained(tmp_path / str(cpu), kind, args={"use_cpu": cpu}, objective=objective).student for cpu in (False, True)
    )
    assert next(mine.parameters()).is_cuda
    moved = largest_difference(other, start)
    assert largest_difference(mine.cpu(), other) < max(1e-5, 0.01 * moved)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_nearly_the_same_and_keeps_weights_in_float32(precision: str, tmp_path: Path) -> None:
    start = student_model(dropout=False)
    half, full = (
        trained(tmp_path / name, args={"use_cpu": False, **more}).student.cpu()
        for name, more in (("half", {precision: True}), ("full", {}))
    )
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    moved = largest_difference(full, start)
    assert 0 < largest_difference(half, full) < 0.2 * moved


def test_the_cache_gives_what_the_live_teacher_gives(tmp_path: Path) -> None:
    cached, live = (
        trained(
            tmp_path / use,
            args={"use_cpu": False, "num_train_epochs": 2},
            cache=CacheSettings(use=use, folder=str(tmp_path / "cache")),
        ).student.cpu()
        for use in ("always", "never")
    )
    assert largest_difference(cached, live) < 1e-4


def test_the_teacher_stays_as_it_is_and_leaves_the_gpu(tmp_path: Path) -> None:
    teacher = teacher_model()
    before = snapshot(teacher)
    trained(tmp_path, teacher=teacher, args={"use_cpu": False, "bf16": True})
    assert all(torch.equal(tensor.cpu(), before[name]) for name, tensor in teacher.state_dict().items())


def test_a_checkpoint_is_gone_on_from_as_if_nothing_had_been(tmp_path: Path) -> None:
    """Bit for bit, with dropout, whose random numbers are the GPU's."""
    args = {"use_cpu": False, "save_strategy": "steps", "save_steps": 2, "max_steps": 5}
    whole = make_trainer(tmp_path, args=args)
    whole.train()
    again = make_trainer(tmp_path, args=args)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert largest_difference(whole.student, again.student) == 0


def test_attention_maps_do_not_outlive_their_chunk(tmp_path: Path) -> None:
    """At length 512 the peak is below that of the same losses from all that the models can return."""
    tokens = torch.randint(5, len(VOCAB), (16, 512), device="cuda")
    sizes = {"hidden": 64, "heads": 8, "max_position_embeddings": 520}
    rows = dataset(16).remove_columns("text").add_column("input_ids", tokens.tolist())
    rows = rows.add_column("attention_mask", torch.ones_like(tokens).tolist()).add_column("length", [512] * 16)
    teacher, student = (
        tiny_model("bert", layers=layers, label_names=("bad", "good", "mixed"), **sizes) for layers in (4, 2)
    )

    def peak(work: Any) -> int:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - held

    pairs = [[1, 2], [2, 4]]
    trainer = make_trainer(
        tmp_path,
        model=student,
        teacher=teacher,
        objective=Objective([(1.0, HiddenState(pairs)), (1.0, AttentionProbabilities(pairs))]),
        train_dataset=rows,
        args={"use_cpu": False, "max_steps": 1, "per_device_train_batch_size": 16},
        cache=CacheSettings(use="never"),
    )
    ours = peak(trainer.train)

    eager = [tiny_model("bert", layers=layers, **sizes).cuda() for layers in (4, 2)]
    for model in eager:
        model.set_attn_implementation("eager")

    def all_outputs() -> None:
        asked = {"input_ids": tokens, "output_attentions": True, "output_hidden_states": True}
        with torch.no_grad():
            taught = eager[0](**asked)
        learned = eager[1].train()(**asked)
        loss = sum(
            (learned.hidden_states[s] - taught.hidden_states[t]).square().mean()
            + (learned.attentions[s - 1] - taught.attentions[t - 1]).square().mean()
            for s, t in pairs
        )
        loss.backward()

    assert ours < peak(all_outputs)

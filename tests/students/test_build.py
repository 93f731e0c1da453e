"""Students cut from teachers of every backbone: what they keep, what they save, and what is refused."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.losses import HiddenState
from distilnlp.models.capture import model_info
from distilnlp.models.encoder import embeddings, layer_prefix, layer_stack
from distilnlp.students import build_student
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

TEXTS = ["the good film was seems very quite lovely", "it bad", "we saw that book and but on in of to the meal"]
LABELS = ("no", "maybe", "yes")


def batch(pad_to: int = 20) -> dict[str, Tensor]:
    inputs = tiny_tokenizer()(TEXTS, padding="max_length", max_length=pad_to, return_tensors="pt")
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    return model.eval()(**batch()).logits


def teacher_of(kind: str, layers: int = 4, **config: object) -> PreTrainedModel:
    """A teacher whose norms and biases are not at their ones and zeros, so that a lost one shows."""
    model = tiny_model(kind, layers=layers, label_names=LABELS, problem_type="single_label_classification", **config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


def copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in state.items()}


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_student_of_all_layers_answers_as_the_teacher(kind: str) -> None:
    teacher = teacher_of(kind)
    student = build_student(teacher)
    assert type(student) is type(teacher)
    assert torch.equal(logits(student), logits(teacher))


@pytest.mark.parametrize("kind", BACKBONES)
def test_kept_layers_are_the_teachers_and_share_no_memory(kind: str) -> None:
    teacher = teacher_of(kind)
    before = copies(teacher.state_dict())
    random_state = torch.random.get_rng_state()
    student = build_student(teacher, layers=[1, 3])

    assert torch.equal(random_state, torch.random.get_rng_state())
    assert student.config.num_hidden_layers == 2
    assert student.config.distilnlp_kept_layers == [1, 3]
    assert student.config.id2label == dict(enumerate(LABELS))
    assert student.config.label2id == {name: index for index, name in enumerate(LABELS)}
    assert student.config.problem_type == "single_label_classification"
    assert all(parameter.requires_grad for parameter in student.parameters())
    # The reference is made by hand: the teacher's own modules, with two of its layers thrown away.
    prefix = layer_prefix(teacher)
    expected = {}
    for name, weight in before.items():
        if kind != "albert" and name.startswith(f"{prefix}."):
            number, rest = name.removeprefix(f"{prefix}.").split(".", 1)
            if number in ("0", "2"):
                expected[f"{prefix}.{int(number) // 2}.{rest}"] = weight
        else:
            expected[name] = weight
    state = student.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)

    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_student_runs_as_the_teacher_without_the_other_layers(kind: str) -> None:
    """Layers also depend on their place: ModernBERT's attention kind, which is by number in a plain config."""
    teacher = teacher_of(kind)
    student = build_student(teacher, layers=[1, 2, 4])
    if kind == "albert":
        teacher.config.num_hidden_layers = 3
    else:
        del layer_stack(teacher)[2]
        teacher.config.num_hidden_layers = 3
    assert torch.equal(logits(student), logits(teacher))


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_student_survives_being_saved(kind: str, tmp_path: Path) -> None:
    student = build_student(teacher_of(kind), layers=2, layer_map="skip")
    student.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.distilnlp_kept_layers == [1, 4]
    assert torch.equal(logits(loaded), logits(student))
    # A student is a teacher like any other, and its own student names its layers, not its grandparent's.
    assert build_student(loaded, layers=1).config.distilnlp_kept_layers == [2]
    assert build_student(loaded, layers=1, init="random").config.distilnlp_kept_layers is None


def test_modernbert_attention_kinds_follow_the_kept_layers() -> None:
    teacher = teacher_of("modernbert", layers=6)
    assert teacher.config.layer_types == [
        "full_attention", "sliding_attention", "sliding_attention"] * 2  # fmt: skip
    student = build_student(teacher, layers=[1, 3, 4])
    assert student.config.layer_types == ["full_attention", "sliding_attention", "full_attention"]


def test_modernbert_cut_in_cadence_attends_as_the_teacher_does_and_learns_kind_from_kind() -> None:
    teacher = teacher_of("modernbert", layers=9)
    student = build_student(teacher, layers=4, layer_map="cadence")
    assert student.config.layer_types == teacher.config.layer_types[:4]
    assert student.config.distilnlp_kept_layers == [1, 3, 6, 7]
    random = build_student(teacher, layers=4, layer_map="cadence", init="random")
    pairs = HiddenState().resolve(model_info(random), model_info(teacher)).pairs
    types = teacher.config.layer_types
    assert all(types[own - 1] == types[other - 1] for own, other in pairs)


def test_modernbert_without_its_first_layer_folds_the_norm() -> None:
    """With an embedding norm of one scale everywhere the fold is exact, up to the epsilon of the norms."""
    teacher = teacher_of("modernbert", norm_eps=1e-12)
    with torch.no_grad():
        teacher.model.embeddings.norm.weight.fill_(1.7)
        teacher.model.embeddings.tok_embeddings.weight.mul_(10)
    student = build_student(teacher, layers=[2, 4])
    stack = layer_stack(teacher)
    del stack[2], stack[0]
    teacher.config.num_hidden_layers = 2
    torch.testing.assert_close(logits(student), logits(teacher), atol=1e-5, rtol=1e-4)


def test_the_folded_matrix_does_what_norm_and_matrix_did() -> None:
    """For any input of the spread that the embeddings' norm gives, whatever its mean."""
    teacher = teacher_of("modernbert", norm_eps=1e-12)
    layer, spread = layer_stack(teacher)[1], teacher.model.embeddings.norm.weight.square().mean().sqrt()
    hidden = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)) + 3.0
    centred = hidden - hidden.mean(-1, keepdim=True)
    hidden = centred / centred.square().mean(-1, keepdim=True).sqrt() * spread + 3.0
    folded = layer_stack(build_student(teacher, layers=[2, 4]))[0].attn.Wqkv
    with torch.no_grad():
        expected = layer.attn.Wqkv(layer.attn_norm(hidden))
        torch.testing.assert_close(folded(hidden), expected, atol=1e-5, rtol=1e-4)


def test_modernbert_with_norm_biases_must_keep_its_first_layer() -> None:
    teacher = teacher_of("modernbert", norm_bias=True)
    with pytest.raises(RequestError, match="keep layer 1"):
        build_student(teacher, layers=2)
    assert torch.isfinite(logits(build_student(teacher, layers=2, layer_map="skip"))).all()


def test_albert_groups_stay_in_step_or_are_refused() -> None:
    teacher = teacher_of("albert", num_hidden_groups=2)
    teacher_logits = logits(teacher)
    assert torch.equal(logits(build_student(teacher)), teacher_logits)
    assert build_student(teacher, layers=[1, 3]).config.num_hidden_layers == 2
    with pytest.raises(RequestError, match="2 groups of shared layers"):
        build_student(teacher, layers=[3, 4])


def test_the_teacher_may_be_frozen_half_precision_in_train_mode_or_held() -> None:
    teacher = teacher_of("bert").to(torch.bfloat16).requires_grad_(False).train()
    student = build_student(SimpleNamespace(model=teacher), layers=1)
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not student.training
    weight = "bert.encoder.layer.0.attention.self.query.weight"
    last = "bert.encoder.layer.3.attention.self.query.weight"
    assert torch.equal(student.state_dict()[weight], teacher.state_dict()[last].float())
    assert teacher.training


def test_what_is_no_teacher_is_refused() -> None:
    with pytest.raises(RequestError, match="build_student: teacher is 3, of type int"):
        build_student(3)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="the teacher is a int"):
        build_student(SimpleNamespace(model=3))  # type: ignore[arg-type]


def test_random_init_takes_sizes_and_labels_only() -> None:
    teacher = teacher_of("bert")
    one, same, other = (build_student(teacher, layers=2, init="random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(logits(one), logits(same))
    assert not torch.equal(logits(one), logits(other))
    assert one.config.distilnlp_kept_layers is None
    assert one.config.id2label == dict(enumerate(LABELS))
    with pytest.raises(RequestError, match="unknown init 'copy'"):
        build_student(teacher, init="copy")


def test_a_checkpoint_as_student_gets_the_teachers_labels(tmp_path: Path) -> None:
    tiny_model("distilbert", layers=1, num_labels=2).save_pretrained(tmp_path)
    student = build_student(teacher_of("bert"), student=tmp_path)
    assert student.config.model_type == "distilbert"
    assert student.config.id2label == dict(enumerate(LABELS))
    assert logits(student).shape == (len(TEXTS), 3)


def test_a_checkpoint_as_teacher_is_loaded(tmp_path: Path) -> None:
    teacher = teacher_of("electra")
    teacher.save_pretrained(tmp_path)
    assert torch.equal(logits(build_student(str(tmp_path))), logits(teacher))


def test_a_model_as_student_is_taken_as_it_is_when_its_labels_fit() -> None:
    teacher = teacher_of("bert")
    student = tiny_model("modernbert", label_names=LABELS)
    assert build_student(teacher, student=student) is student
    with pytest.raises(RequestError, match=r"labels are \['yes', 'no', 'maybe'\]"):
        build_student(teacher, student=tiny_model("bert", label_names=("yes", "no", "maybe")))


def test_contradictions_are_refused() -> None:
    teacher = teacher_of("bert")
    with pytest.raises(RequestError, match="leave out layer_map 'last'"):
        build_student(teacher, layers=[1, 2], layer_map="last")
    with pytest.raises(RequestError, match="taken whole"):
        build_student(teacher, layers=2, student="some/checkpoint")
    with pytest.raises(RequestError, match="ask for 1 to 4"):
        build_student(teacher, layers=5)
    with pytest.raises(RequestError, match="use layers="):
        build_student(teacher, config={"num_hidden_layers": 2})
    with pytest.raises(RequestError, match=r"unknown field 'hiden_size'.*did you mean 'hidden_size'"):
        build_student(teacher, config={"hiden_size": 16})


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_parts_of_an_encoder_are_found(kind: str) -> None:
    model = tiny_model(kind, layers=3)
    assert len(layer_stack(model)) == (1 if kind == "albert" else 3)
    assert layer_stack(model) is layer_stack(model.base_model)
    calls = []
    for layer in layer_stack(model):
        layer.register_forward_hook(lambda *_: calls.append(1))
    entered = []
    embeddings(model).register_forward_hook(lambda *_: entered.append(1))
    logits(model)
    assert (len(calls), len(entered)) == (3, 1)

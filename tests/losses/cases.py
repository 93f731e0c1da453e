"""A row or more for every registered loss: how to make it, and outputs that it can compare. Without one it fails."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from distilnlp.losses import Loss, get_loss
from distilnlp.outputs import ModelInfo, Outputs, at_least_float32
from distilnlp.problems import get_problem

BATCH, TOKENS, WIDTH, HEADS, CLASSES = 4, 6, 8, 2, 3
LENGTHS = (6, 4, 5, 2)


@dataclass(frozen=True)
class Case:
    """How the suite makes a loss, and what holds for it.

    Args:
        name: the registry's name.
        settings: for `get_loss`.
        problem_type: the head that the loss is for.
        labels: of the batch, for losses that read them.
        zero_at_equality: I1; a loss that reads the labels may have no such point.
        lowest: the value at equality, from the outputs; 0 where absent.
        constants: whether it takes something that it reads off the student for a constant, so that its gradient is
            not the derivative; it has a test of its own.
        warm: whether the auxiliary module has seen another batch, of a loss that remembers.
    """

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)
    problem_type: str = "single_label_classification"
    zero_at_equality: bool = True
    lowest: Callable[[Outputs], float] = lambda _: 0.0
    constants: bool = False
    warm: bool = False

    def make(self) -> Loss:
        return get_loss(self.name, **self.settings)

    @property
    def classes(self) -> int:
        return 1 if self.problem_type == "regression" else CLASSES

    def info(self, **changes: object) -> ModelInfo:
        info = ModelInfo("model", 3, WIDTH, HEADS, self.classes, get_problem(self.problem_type))
        return dataclasses.replace(info, **changes)

    def module(self, student: Outputs) -> nn.Module | None:
        """The auxiliary module, the same numbers each time, of the dtype and on the device of the outputs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.make().make_module(self.info(), self.info())
        if self.warm:
            with torch.autocast("cpu", enabled=False):
                self.make()(outputs(2, self.classes), outputs(3, self.classes), self.batch(), module)
        like = at_least_float32(next(iter(student.hidden_states.values())))
        return None if module is None else module.to(like)

    def modules(self, student: Outputs) -> nn.ModuleDict:
        """The same for an objective of this loss alone."""
        module = self.module(student)
        return nn.ModuleDict({} if module is None else {self.name: module})

    def batch(self) -> dict[str, Tensor]:
        return {"labels": torch.tensor([0, 2, 1, 0])}


def entropy(out: Outputs) -> float:
    """Of the softmax, mean over the examples."""
    assert out.logits is not None
    p = out.logits.double().softmax(dim=-1)
    return float(-(p * p.log()).sum(dim=-1).mean())


PAIRS = [[1, 1], [2, 3]]
CASES = [
    Case("hard_label", zero_at_equality=False),
    Case("response", {"temperature": 2.0}),
    Case("response", {}, "regression"),
    Case("soft_target", {"temperature": 2.0}),
    Case("bernoulli_soft_target", {"temperature": 2.0}, "multi_label_classification"),
    Case("logit_mse", {}, "regression"),
    Case("cosine"),
    Case("soft_cross_entropy", lowest=entropy),
    Case("divergence", {"kind": "reverse_kl", "temperature": 2.0}),
    Case("divergence", {"kind": "jsd", "beta": 0.3}),
    Case("divergence", {"kind": "tvd", "temperature": 2.0}),
    Case("divergence", {"kind": "jeffreys"}),
    Case("dkd", {"temperature": 2.0}),
    Case("uld", {"temperature": 2.0}, "masked_lm"),
    Case("dist", {"temperature": 2.0}),
    Case("logit_standardization"),
    Case("label_smoothing", zero_at_equality=False),
    Case("pseudo_label", zero_at_equality=False),
    Case("conditional_teacher_student", {"temperature": 2.0}, zero_at_equality=False),
    Case("probability_shift", zero_at_equality=False),
    Case("margin_mse"),
    Case("teacher_annealing", {"label_share": 0.3}, zero_at_equality=False),
    Case("annealing_kd", {"factor": 0.5}, zero_at_equality=False),
    Case("annealing_kd", {}, "regression"),
    Case("lwf", {"temperature": 2.0}),
    Case("cwtm", zero_at_equality=False),
    Case("dkpp", {"temperature": 2.0}, zero_at_equality=False),
    Case("flsw", {"gamma": 1.5}, constants=True),
    Case("cwsm", constants=True),
    Case("hidden_state", {"layer_map": PAIRS}),
    Case("hidden_state_cosine", {"layer_map": PAIRS}),
    Case("embedding"),
    Case("attention_scores", {"layer_map": PAIRS}),
    Case("attention_probabilities", {"layer_map": PAIRS}),
    Case("alp_kd", {"student_layers": [1, 2], "teacher_layers": [1, 2, 3]}, zero_at_equality=False),
    Case("cofi", {"student_layers": [1, 2, 3], "teacher_layers": [1, 2, 3]}),
    Case("semckd", {"student_layers": [1, 2], "teacher_layers": [1, 3], "dimension": 4}, zero_at_equality=False),
    Case("bert_emd", {"student_layers": [1, 2, 3], "teacher_layers": [1, 2, 3]}),
    Case("rail_kd", {"student_layers": [1, 2], "teacher_layers": [1, 2, 3], "every": 2}, zero_at_equality=False),
    Case("mobilebert", {"layer_map": PAIRS}),
    Case("internal", {"layer_map": PAIRS}),
    Case("nst", {"layer_map": PAIRS}),
    Case("minilm", {"layer_map": PAIRS}),
    Case("minilmv2", {"layer_map": PAIRS, "relation_heads": 4}),
    Case("pkd", {"layer_map": PAIRS}),
    Case("rkd_distance", {"layer_map": PAIRS}),
    Case("rkd_angle", {"layer_map": PAIRS, "pooling": "mean"}),
    Case("similarity_preserving", {"layer_map": PAIRS}),
    Case("pkt", {"layer_map": PAIRS, "pooling": "mean"}),
    Case("cka", {"layer_map": PAIRS}),
    Case("attention_transfer", {"layer_map": PAIRS}),
    Case("vid", {"layer_map": PAIRS}, zero_at_equality=False),
    Case("discriminator", {"hidden": 5}, zero_at_equality=False),
    Case("feature_discriminator", {"layer_map": PAIRS, "hidden": 5}, zero_at_equality=False),
    Case("info_nce", {"layer_map": PAIRS, "temperature": 0.5, "dimension": 4}, zero_at_equality=False),
    Case("info_nce", {"layer_map": PAIRS, "dimension": None, "queue": 6}, zero_at_equality=False, warm=True),
    Case("crd", {"layer_map": PAIRS, "temperature": 0.5, "dimension": 4}, zero_at_equality=False, warm=True),
    Case("cc", {"layer_map": PAIRS}),
    Case("fsp", {"layer_map": PAIRS}),
    Case("irg", {"layer_map": PAIRS, "vertex_weight": 0.1}),
    Case("ckd", {"layer_map": [[0, 1], [1, 2], [2, 3]], "window": 3}),
    Case("rkd_distance", {"on": "logits"}),
    Case("rkd_angle", {"on": "logits"}),
    Case("similarity_preserving", {"on": "logits"}),
    Case("info_nce", {"on": "logits", "dimension": 4}, zero_at_equality=False),
    Case("crd", {"on": "logits", "dimension": 4}, zero_at_equality=False, warm=True),
    Case("dark_rank", {"layer_map": PAIRS}, zero_at_equality=False),
    Case("dark_rank", {"layer_map": PAIRS, "kind": "soft", "candidates": 3}),
    Case("mgskd", {"layer_map": PAIRS, "relation_heads": 4, "token_layers": 1}),
    Case("mgskd", {"layer_map": PAIRS, "relation_heads": 2, "central": 2, "neighbours": 3}),
    Case("factor_transfer", {"layer_map": PAIRS}, zero_at_equality=False),
    Case("jacobian"),
    Case("jacobian", {"compare": "norms"}),
    Case("rocket_launching", {"blocks": 2, "hint_weight": 0.5}, constants=True, zero_at_equality=False),
]
SAME_LAYERS = {"layer_map": [[1, 1], [2, 2], [3, 3]]}


def mask(lengths: tuple[int, ...] = LENGTHS, tokens: int = TOKENS) -> Tensor:
    return (torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]).long()


def outputs(seed: int, classes: int = CLASSES, dtype: torch.dtype = torch.float32) -> Outputs:
    """Random outputs of a model of three layers for a batch with padding."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    layers = range(1, 4)
    return Outputs(
        logits=random(BATCH, classes),
        hidden_states={layer: random(BATCH, TOKENS, WIDTH) for layer in (0, *layers)},
        queries={layer: random(BATCH, HEADS, TOKENS, WIDTH // HEADS) for layer in layers},
        keys={layer: random(BATCH, HEADS, TOKENS, WIDTH // HEADS) for layer in layers},
        values={layer: random(BATCH, HEADS, TOKENS, WIDTH // HEADS) for layer in layers},
        input_gradients=random(BATCH, TOKENS, WIDTH),
        attention_mask=mask(),
        words=torch.tensor([[-1, 0, 0, 1, 2, 2]] * BATCH),
    )


def mapped(out: Outputs, change: Callable[[Tensor, int], Tensor]) -> Outputs:
    """Every tensor of the outputs changed by ``change(tensor, axis of the tokens)``; -1 where it has none."""
    by_layer = {
        name: {layer: change(tensor, axis) for layer, tensor in getattr(out, name).items()}
        for name, axis in (("hidden_states", 1), ("queries", 2), ("keys", 2), ("values", 2))
    }
    assert out.logits is not None and out.attention_mask is not None
    assert out.input_gradients is not None and out.words is not None
    return Outputs(
        logits=change(out.logits, -1),
        input_gradients=change(out.input_gradients, 1),
        attention_mask=change(out.attention_mask, 1),
        words=change(out.words, 1),
        **by_layer,
    )


ONE = [(1, 1)]
TWO = [(1, 1), (2, 2)]
# Logits of one text, of the teacher and of the student.
Z_T = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
Z_S = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64)


def points(rows: list[list[float]] | Tensor) -> Outputs:
    """Texts of one token each, whose states are ``rows``."""
    return Outputs(hidden_states={1: torch.as_tensor(rows)[:, None]})


def tokens(rows: list[list[float]], valid: list[int] | None = None) -> Outputs:
    """One text, with the same states at layers 1 and 2."""
    states = torch.tensor([rows])
    return Outputs(
        hidden_states={1: states, 2: states}, attention_mask=None if valid is None else torch.tensor([valid])
    )


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_points(seed: int, batch: int = 5, width: int = 4) -> Tensor:
    return random(seed, batch, width)

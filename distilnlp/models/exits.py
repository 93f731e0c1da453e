"""Exits: small heads at inner layers, kept beside a model, by which texts leave it when they are answered already."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from distilnlp.errors import RequestError, RunError
from distilnlp.label_names import match_names
from distilnlp.models.backend import TorchBackend
from distilnlp.models.checks import CONFIG_EXITS, one_line, read_json
from distilnlp.models.encoder import called_layers
from distilnlp.models.heads import head_logits
from distilnlp.models.labels import label_names_of
from distilnlp.problems import Problem, problem_of_config

__all__ = [
    "EXITS_FILE",
    "POOLINGS",
    "Exiting",
    "Exits",
    "check_has_answers",
    "check_threshold",
    "has_exits",
    "own_pooling",
    "read_exits",
    "uncertainty",
    "write_exits",
]

EXITS_FILE = "exits.safetensors"
POOLINGS = ("cls", "mean")


class Exits(nn.Module):
    """A head at each of some layers: the text's vector, a layer of its own with tanh, and the logits.

    Args:
        layers: where they are; the first layer is 1.
        width: of the model's hidden states.
        classes: how many logits.
        pooling: ``cls``: the vector is that of the first token; ``mean``: the mean over the real tokens.
    """

    def __init__(self, layers: Sequence[int], width: int, classes: int, pooling: str) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.pooling = pooling
        self.heads = nn.ModuleDict(
            {
                str(layer): nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, classes))
                for layer in self.layers
            }
        )

    def forward(self, layer: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """The logits of one exit, ``(batch, classes)``.

        Args:
            layer: whose exit.
            hidden: ``(batch, tokens, width)``, that layer's.
            mask: ``(batch, tokens)``, 1 for a token and 0 for padding; None: there is no padding.
        """
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        elif mask is None:
            pooled = hidden.mean(dim=1)
        else:
            real = mask.bool()[..., None]  # (batch, tokens, 1)
            pooled = hidden.where(real, hidden.new_zeros(())).sum(dim=1) / real.sum(dim=1)
        logits: Tensor = self.heads[str(layer)](pooled)
        return logits

    def reorder(self, order: Sequence[int]) -> None:
        """From now on give logit ``order[i]`` as the i-th."""
        with torch.no_grad():
            for head in self.heads.values():
                last = head.get_submodule("2")
                for tensor in last.parameters():
                    tensor.copy_(tensor[list(order)])


def check_has_answers(problem: Problem) -> None:
    """Raise RequestError for a kind of task without a decision for each text, whose certainty could be told."""
    if problem.rows != "text" or not (problem.exclusive_classes or problem.several_labels):
        raise RequestError(
            f"early exits are for models that give a text one class or several labels, and this one is for"
            f" {problem.name}: leave them out"
        )


def check_threshold(threshold: float) -> float:
    """The threshold itself. Raises RequestError outside of 0..1."""
    if not 0 <= threshold <= 1:  # and for what is no number at all
        raise RequestError(
            f"an exit threshold is a normalised entropy from 0 (no text leaves early) to 1 (all at the first exit);"
            f" got {threshold:g}"
        )
    return float(threshold)


def uncertainty(logits: Tensor, problem: Problem) -> Tensor:
    """How uncertain each text's answer is, ``(batch,)``, from 0 (certain) to 1 (nothing is known).

    The entropy of the classes divided by its largest value, the log of their number. Of several labels each is a yes
    or no of its own, and a text is as uncertain as the least certain of them.

    Args:
        logits: ``(batch, classes)``.
        problem: of the head.
    """
    logits = logits.float()
    if problem.several_labels:
        p = torch.sigmoid(logits)
        entropy = -(p * F.logsigmoid(logits) + (1 - p) * F.logsigmoid(-logits))
        return (entropy / math.log(2)).amax(dim=-1).clamp(0, 1)
    log_p = torch.log_softmax(logits, dim=-1)
    entropy = -(log_p.exp() * log_p).sum(dim=-1)
    return (entropy / math.log(logits.shape[-1])).clamp(0, 1)


def own_pooling(model: PreTrainedModel) -> str:
    """How a model's own head makes a vector of a text: by its first token, unless its config says the mean."""
    said = model.config.to_dict().get("classifier_pooling")
    return "mean" if said == "mean" else "cls"


# ---- beside a model ----


def write_exits(folder: Path, exits: Exits) -> None:
    """Put exits beside the model that was saved in a folder, which nobody reads yet, and say so in its config."""
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in exits.state_dict().items()}, folder / EXITS_FILE
    )
    config = read_json(folder / "config.json")
    config[CONFIG_EXITS] = {"layers": list(exits.layers), "pooling": exits.pooling}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def has_exits(folder: Path) -> bool:
    """Whether the model of a folder says that it has exits."""
    path = folder / "config.json"
    return path.is_file() and read_json(path).get(CONFIG_EXITS) is not None


def read_exits(folder: Path, model: PreTrainedModel, name: str) -> Exits:
    """The exits beside a model, counting its labels as the model does now.

    Args:
        folder: of the model.
        model: loaded from there, its labels in whatever order.
        name: of the model, for messages.
    Raises:
        RequestError: it has none; they are damaged, or of another model.
    """
    raw = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    said, path = raw.get(CONFIG_EXITS), folder / EXITS_FILE
    if said is None:
        raise RequestError(
            f"{name} has no exits: train it with the part early_exits (parts: {{early_exits: {{}}}}), or leave the"
            " exit threshold out"
        )
    layers, pooling = (said.get("layers"), said.get("pooling")) if isinstance(said, dict) else (None, None)
    depth = model.config.num_hidden_layers
    if not _are_layers(layers, depth) or pooling not in POOLINGS:
        raise RequestError(
            f"{folder / 'config.json'} has {CONFIG_EXITS} {said!r:.80}: inner layers (1 to {depth - 1}, ascending) and"
            f" a pooling ({' or '.join(POOLINGS)}) are needed; save the model again"
        )
    problem = problem_of_config(model.config)
    check_has_answers(problem)
    if not path.is_file():
        raise RequestError(f"{name} lacks {EXITS_FILE}, which its config.json tells of: copy the folder again")
    classes = problem.head_size(model.config)
    exits = Exits(layers, model.config.hidden_size, classes, pooling)
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise RequestError(f"{path} is damaged ({one_line(error)}): copy or save it again") from error
    needed = {key: tuple(tensor.shape) for key, tensor in exits.state_dict().items()}
    other = {key for key in {*needed, *found} if key not in found or needed.get(key) != tuple(found[key].shape)}
    if other:
        raise RequestError(f"{path} is not of the model beside it ({min(other)} differs): copy the folder again")
    bad = next((key for key, tensor in found.items() if not tensor.isfinite().all()), None)
    if bad is not None:
        raise RequestError(f"{path} has numbers in {bad} that are not finite: train or copy it again")
    exits.load_state_dict(found)
    _align(exits, raw, model)
    return exits.to(next(model.parameters()).device).eval()


def _are_layers(layers: object, depth: int) -> TypeGuard[list[int]]:
    if not isinstance(layers, list) or not layers:
        return False
    whole = all(isinstance(each, int) and not isinstance(each, bool) and 0 < each < depth for each in layers)
    return whole and layers == sorted(set(layers))


def _align(exits: Exits, raw: Mapping[str, Any], model: PreTrainedModel) -> None:
    """Put the logits into the order that the model's labels have been put into."""
    saved, now = raw.get("id2label"), label_names_of(model)
    if not isinstance(saved, dict) or now is None:
        return
    order = match_names(now, [str(saved[key]) for key in sorted(saved, key=int)])
    if order is not None and order != tuple(range(len(order))):
        exits.reorder(order)


# ---- inference ----


class Exiting(TorchBackend):
    """A model whose texts leave at the first exit that is certain of its answer, and are not computed any further.

    A batch is made smaller by those that left. A text leaves where the `uncertainty` of the exit's answer is below the
    threshold: 0 lets none leave, so that all answers are the full model's, and 1 lets all leave at the first exit.

    Args:
        model: of transformers.
        exits: of this model (`read_exits`).
        threshold: 0 to 1.
        device: where both are moved; None leaves them where they are.
    Attributes:
        depths: how many of the texts that were answered ran through how many layers.
    Raises:
        RequestError: a threshold outside of 0..1.
    """

    def __init__(
        self, model: PreTrainedModel, exits: Exits, threshold: float, device: torch.device | None = None
    ) -> None:
        super().__init__(model, device)
        self.threshold = check_threshold(threshold)
        self.exits = exits if device is None else exits.to(device)
        self.problem = problem_of_config(model.config)
        self.layers: int = model.config.num_hidden_layers
        self.depths: Counter[int] = Counter()

    @property
    def mean_depth(self) -> float:
        """How many layers a text ran through, on average. Raises RuntimeError before any did."""
        if not self.depths:
            raise RuntimeError("nothing was answered yet")
        return sum(layer * count for layer, count in self.depths.items()) / self.depths.total()

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits ``(batch, classes)``, of each text those of the exit where it left, or of the model."""
        run = _Run(self, batch.get("attention_mask"))
        modules = list(dict.fromkeys(called_layers(self._inner)))
        handles: list[RemovableHandle] = []
        try:
            for module in modules:
                handles.append(module.register_forward_pre_hook(run.before_layer, with_kwargs=True))
                handles.append(module.register_forward_hook(run.after_layer))
            try:
                logits = head_logits(self.model(**batch))
                run.depth[run.rows] = self.layers
            except _AllLeft:
                logits = torch.zeros_like(run.logits)
        finally:
            for handle in handles:
                handle.remove()
        if run.calls == 0:
            raise RunError(f"the layers of {type(self._inner).__name__} are not called one by one: give no threshold")
        self.depths.update(run.depth.tolist())
        left = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        left[run.rows] = False
        return torch.where(left[:, None], run.logits.to(logits.dtype), logits)


class _AllLeft(Exception):  # no error: it ends a pass
    """No text is left for the layers to come."""


class _Run:
    """One pass: which rows are still in it, and what those that left were answered."""

    def __init__(self, backend: Exiting, mask: Tensor | None) -> None:
        self.backend = backend
        self.mask = mask
        self.calls = 0
        self.size = self.tokens = 0
        self.rows = torch.empty(0, dtype=torch.long)
        self.depth = torch.empty(0, dtype=torch.long)
        self.logits = torch.empty(0)
        self._smaller: dict[int, tuple[Tensor, Tensor]] = {}

    def before_layer(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What comes out of the layers so far is asked for an answer, and what goes on is made smaller."""
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        if self.calls == 0:
            self._begin(hidden)
        if self.calls in self.backend.exits.layers:
            stay = self._leave(self.calls, hidden)
            hidden = hidden if stay is None else hidden[stay]
        self.calls += 1
        if len(self.rows) == self.size:
            return None
        rest = self._of_rows(args[1:]), {key: self._of_rows(value) for key, value in kwargs.items()}
        return ((hidden, *rest[0]), rest[1]) if args else ((), {**rest[1], "hidden_states": hidden})

    def after_layer(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """After the last layer all rows are there again, for heads that read the mask of the batch."""
        if self.calls < self.backend.layers or len(self.rows) == self.size:
            return None
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        whole = hidden.new_zeros((self.size, *hidden.shape[1:])).index_copy(0, self.rows, hidden)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    def _begin(self, hidden: Tensor) -> None:
        self.size, self.tokens = hidden.shape[:2]
        self.rows = torch.arange(self.size, device=hidden.device)
        self.depth = torch.zeros_like(self.rows)
        classes = self.backend.problem.head_size(self.backend.config)
        self.logits = torch.zeros(self.size, classes, dtype=torch.float32, device=hidden.device)

    def _leave(self, layer: int, hidden: Tensor) -> Tensor | None:
        """Note the answers of the rows that leave after a layer; the places of those that stay, None: all."""
        mask = None if self.mask is None else self.mask[self.rows]
        logits = self.backend.exits(layer, hidden.float(), mask)
        threshold = self.backend.threshold
        certain = uncertainty(logits, self.backend.problem) < threshold
        if threshold == 1:
            certain = torch.ones_like(certain)  # also where an answer is entirely open
        if not certain.any():
            return None
        self.logits[self.rows[certain]] = logits[certain].float()
        self.depth[self.rows[certain]] = layer
        stay = torch.nonzero(~certain)[:, 0]
        self.rows = self.rows[stay]
        self._smaller.clear()
        if not len(stay):
            raise _AllLeft
        return stay

    def _of_rows(self, value: Any) -> Any:
        """Of whatever has a row for each text, masks above all, the rows that are still there."""
        if isinstance(value, tuple | list):
            return type(value)(self._of_rows(each) for each in value)
        if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != self.size:
            return value
        # A table may have as many rows as the batch has texts.
        if value.ndim == 2 and (value.is_floating_point() or value.shape[1] != self.tokens):
            return value
        if id(value) not in self._smaller:
            self._smaller[id(value)] = (value, value[self.rows])  # kept, so that no other tensor gets its id
        return self._smaller[id(value)][1]

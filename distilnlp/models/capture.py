"""Gets exactly the tensors that an objective needs out of any encoder, whatever attention kernel it runs on.

Hidden states come from hooks on the layers that are needed. Queries, keys and values come from the attention function
itself: transformers lets every model call one function by name, and ours notes what it is given and then calls the
usual fast kernel. ``output_attentions=True`` is never used: under the default kernel it gives an empty tuple, and
where it gives attentions they come after dropout.
"""

import inspect
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from distilnlp.errors import RequestError
from distilnlp.models.chosen_tokens import HEAD_TOKENS, answering_for
from distilnlp.models.encoder import called_layers, layer_stack
from distilnlp.models.heads import head_logits
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.problems import problem_of_config

__all__ = ["Capture", "model_info"]

INTERFACE = "distilnlp"
DOUBLE_BACKWARD = (
    "distilnlp-double-backward"  # the same, of operations that can be differentiated twice, as no fast kernel can
)

# Models that compute attention in code of their own and never call the interface, and where in a layer the dropout
# stands that receives the probabilities.
OWN_ATTENTION = {
    "deberta": "attention.self.dropout",
    "deberta-v2": "attention.self.dropout",
    "mpnet": "attention.attn.dropout",
}


def model_info(model: PreTrainedModel) -> ModelInfo:
    """The sizes of a model, read from its config."""
    config = model.config
    kept = config.to_dict().get("distilnlp_kept_layers")
    problem = problem_of_config(config)
    return ModelInfo(
        name=config.name_or_path or type(model).__name__,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        num_logits=problem.head_size(config),
        problem=problem,
        kept_layers=tuple(kept) if kept else None,
        layer_types=_layer_types(config),
    )


def _layer_types(config: PreTrainedConfig) -> tuple[str, ...] | None:
    types = tuple(getattr(config, "layer_types", None) or ())
    return types if len(set(types)) > 1 else None


class _Enough(Exception):
    """All that is needed of this forward pass is there."""


class _Records:
    """What one forward pass gave so far."""

    def __init__(self) -> None:
        self.layer_calls = 0
        self.attention_calls = 0
        self.hidden_states: dict[int, Tensor] = {}
        self.queries: dict[int, Tensor] = {}
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.scales: dict[int, float] = {}
        self.allowed: dict[int, Tensor] = {}
        self.attentions: dict[int, Tensor] = {}
        self.embedded: Tensor | None = None  # what input gradients are taken with respect to


# Which capture notes what a module's attention is given. By module, so that two models can be in their forward pass at
# once: one inside the other, or in two threads. Weak on both sides: a capture holds its model, so that one that nobody
# removed would keep the model in memory. The hooks on the model keep the capture while the model is there.
_CAPTURES: "weakref.WeakKeyDictionary[nn.Module, weakref.ref[Capture]]" = weakref.WeakKeyDictionary()


class Capture:
    """Takes the needed tensors from every forward pass between `start` and `finish`, until `remove`.

    Outside of a pass nothing is noted, so that evaluation, and the second forward pass of gradient checkpointing,
    run as if nothing were attached.

    Args:
        model: an encoder of transformers, with or without a head.
        needs: what to take.
        learns: whether all that is taken of a training model has to carry a gradient.
    Raises:
        RequestError: a layer that the model has not.
    """

    def __init__(self, model: PreTrainedModel, needs: Needs, *, learns: bool = True) -> None:
        self.model = model
        self.needs = needs
        self.learns = learns
        self.layers = model.config.num_hidden_layers
        self._records: _Records | None = None
        self._handles: list[RemovableHandle] = []
        self._kernel = model.config._attn_implementation
        self._stops = False
        highest = max(needs.layers, default=0)
        if highest > self.layers:
            raise RequestError(f"layer {highest} is needed, and {model_info(model).name} has {self.layers} layers")
        if needs.layers or needs.input_gradients:
            self._attach()

    def _attach(self) -> None:
        # A model that shares one layer calls it many times: hook each module once and count the calls.
        for layer in dict.fromkeys(called_layers(self.model)):
            self._handles.append(layer.register_forward_pre_hook(self._before_layer, with_kwargs=True))
            self._handles.append(layer.register_forward_hook(self._after_layer))
        if self.layers in self.needs.hidden_states:
            # The last hidden state is what the base model returns: ModernBERT norms it after the last layer.
            self._handles.append(self.model.base_model.register_forward_hook(self._after_encoder))
        if not (self.needs.attention | self.needs.values or self.needs.input_gradients):
            return
        own = OWN_ATTENTION.get(self.model.config.model_type)
        if own is not None:
            for layer in layer_stack(self.model):
                self._handles.append(layer.get_submodule(own).register_forward_pre_hook(self._before_own_dropout))
        else:
            self._claim_attention()
            self.model.set_attn_implementation(DOUBLE_BACKWARD if self.needs.input_gradients else INTERFACE)

    def _claim_attention(self) -> None:
        modules = [module for layer in layer_stack(self.model) for module in layer.modules()]
        if any(module in _CAPTURES for module in modules):
            self.remove()
            raise RequestError(
                f"the attention of {model_info(self.model).name} is captured already: one model cannot be teacher and "
                "student at once, give each its own (copy.deepcopy), or remove() the other capture first"
            )
        _CAPTURES.update(dict.fromkeys(modules, weakref.ref(self)))

    def remove(self) -> None:
        """Take everything off the model; it computes as before it was attached."""
        while self._handles:
            self._handles.pop().remove()
        claimed = [module for module, capture in list(_CAPTURES.items()) if capture() is self]
        for module in claimed:
            del _CAPTURES[module]
        if claimed:
            self.model.set_attn_implementation(self._kernel)

    def start(self) -> None:
        """Note what the next forward pass gives."""
        self._records = _Records()

    def run(self, inputs: Mapping[str, Tensor], order: list[int] | None = None) -> Outputs:
        """What is needed, from a forward pass of its own that does no more than that, without any gradient.

        Without logits neither head nor pooler runs, and the pass ends at the highest layer that is needed.

        Args:
            inputs: a batch; what the model does not read is left out. ``labels`` choose the logit of input gradients.
            order: the place of each label among the logits, where the model counts its labels in another order.
        Raises:
            RequestError: as `finish`.
        """
        model = self.model if self.needs.logits else self.model.base_model
        columns = inspect.signature(model.forward).parameters
        known = {name: tensor for name, tensor in inputs.items() if name in columns and name != "labels"}
        self.start()
        self._stops = not self.needs.logits
        try:
            with (
                _without_pooler(model) if self._stops else answering_for(self.model, inputs.get(HEAD_TOKENS)),
                torch.set_grad_enabled(self.needs.input_gradients),
            ):
                output = model(**known)
        except _Enough:
            output = None
        except BaseException:
            self._records, self._stops = None, False
            raise
        self._stops = False
        logits = head_logits(output) if self.needs.logits else None
        return self.finish(logits, inputs.get("attention_mask"), inputs.get("labels"), order).detached()

    def finish(
        self,
        logits: Tensor | None,
        attention_mask: Tensor | None,
        labels: Tensor | None = None,
        order: list[int] | None = None,
    ) -> Outputs:
        """What the pass since `start` gave.

        Args:
            logits: of the model.
            attention_mask: of the batch.
            labels: of the batch; they choose the logit of input gradients.
            order: as in `run`.
        Raises:
            RequestError: something needed did not come; names the model, the tensor and the way out.
        """
        records, self._records = self._records, None
        if records is None:
            raise RuntimeError("finish() without start()")
        name = model_info(self.model).name
        missing = sorted(self.needs.hidden_states - records.hidden_states.keys())
        if missing:
            raise RequestError(
                f"the hidden states of layers {missing} did not come out of {name}: unknown architecture"
            )
        missing = sorted(
            (self.needs.attention - (records.queries.keys() | records.attentions.keys()))
            | (self.needs.values - records.values.keys())
        )
        if missing:
            raise RequestError(
                f"the attention of layers {missing} did not come out of {name} (model type "
                f"'{self.model.config.model_type}' does not call the attention interface of transformers): leave the "
                "attention losses out, or use hidden_state"
            )
        if self.learns and self.model.training and torch.is_grad_enabled():
            _check_gradient(name, records)
        if self.needs.logits and logits is None:
            raise RequestError(f"{name} gave no logits: load it with a head")
        return Outputs(
            logits=logits if self.needs.logits else None,
            hidden_states=records.hidden_states,
            queries=records.queries,
            keys=records.keys,
            values=records.values,
            scales=records.scales,
            allowed=records.allowed,
            attentions=records.attentions,
            input_gradients=self._input_gradients(records.embedded, logits, labels, order),
            attention_mask=attention_mask,
            problem=problem_of_config(self.model.config) if self.needs.logits else None,
        )

    def _input_gradients(
        self, embedded: Tensor | None, logits: Tensor | None, labels: Tensor | None, order: list[int] | None
    ) -> Tensor | None:
        """The gradient of each example's own logit, itself to be differentiated while the model trains."""
        if not self.needs.input_gradients or embedded is None or logits is None:
            return None
        with torch.enable_grad(), torch.autocast(logits.device.type, enabled=False):
            chosen = _logits_of_labels(model_info(self.model).name, logits, labels, order)
            # No example reads another's tokens: the gradient of the sum holds that of each.
            (gradients,) = torch.autograd.grad(chosen.sum(), embedded, create_graph=self.model.training)
        return gradients

    def _before_layer(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        records = self._records
        if records is None:
            return
        if records.layer_calls == 0:
            embedded: Tensor = args[0] if args else kwargs["hidden_states"]
            if 0 in self.needs.hidden_states:
                records.hidden_states[0] = embedded
            if self.needs.input_gradients:
                # Of a model whose parameters are frozen it is a leaf, and nothing else there asks for a gradient.
                records.embedded = embedded.requires_grad_()
        records.layer_calls += 1

    def _after_layer(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        records = self._records
        if records is None:
            return
        if records.layer_calls in self.needs.hidden_states and records.layer_calls < self.layers:
            records.hidden_states[records.layer_calls] = output[0] if isinstance(output, tuple) else output
        # The last hidden state is complete only at the end of the base model.
        if (
            self._stops
            and records.layer_calls >= max(self.needs.layers)
            and self.layers not in self.needs.hidden_states
        ):
            raise _Enough

    def _after_encoder(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._records is not None:
            self._records.hidden_states[self.layers] = output[0]

    def _before_own_dropout(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        records = self._records
        if records is not None and records.layer_calls in self.needs.attention:
            records.attentions[records.layer_calls] = args[0]

    def note_attention(
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scale: float | None
    ) -> None:
        """Called by the attention function of every layer, in order."""
        records = self._records
        if records is None:
            return
        # Some models tell no layer index (DistilBERT, ALBERT): the order of the calls is the only thing all have.
        records.attention_calls += 1
        layer = records.attention_calls
        if layer in self.needs.values:
            records.values[layer] = value
        if layer not in self.needs.attention:
            return
        records.queries[layer], records.keys[layer] = query, key
        if scale is not None:
            records.scales[layer] = float(scale)
        if allowed is not None:
            # An additive mask holds 0 where a key may be looked at and a very negative number elsewhere.
            records.allowed[layer] = allowed if allowed.dtype == torch.bool else allowed > -1


def _logits_of_labels(name: str, logits: Tensor, labels: Tensor | None, order: list[int] | None) -> Tensor:
    """The logit of each example's label, ``(batch,)``; the only one of a regression."""
    if logits.ndim != 2:
        raise RequestError(f"input gradients are of one logit a text; {name} gives logits {tuple(logits.shape)}")
    if logits.shape[1] == 1:
        return logits[:, 0]
    if labels is None or labels.is_floating_point() or labels.ndim != 1:
        got = "none" if labels is None else f"labels of type {labels.dtype} and shape {tuple(labels.shape)}"
        raise RequestError(
            f"input gradients are of the logit of the text's label: one class a text is needed; got {got}"
        )
    # On an accelerator to look would be to wait for it; the look-up below checks there.
    if labels.device.type == "cpu" and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise RequestError(f"labels must lie in 0..{logits.shape[1] - 1}; the batch has {labels.tolist()}")
    places = labels if order is None else torch.tensor(order, device=labels.device)[labels]
    return logits.gather(1, places[:, None])[:, 0]


def _check_gradient(name: str, records: _Records) -> None:
    """A training student whose tensors carry no gradient would learn nothing from them, and nobody would notice."""
    for what, tensors in (
        ("hidden state", records.hidden_states),
        ("attention", records.queries | records.attentions),
        ("values", records.values),
    ):
        dead = sorted(layer for layer, tensor in tensors.items() if not tensor.requires_grad)
        if dead:
            raise RequestError(
                f"the {what} of layers {dead} of {name} carries no gradient, so its losses would train nothing: "
                "unfreeze those layers or leave them out of the layer map; with gradient checkpointing set "
                "gradient_checkpointing_kwargs={'use_reentrant': False}"
            )


@contextmanager
def _without_pooler(base: nn.Module) -> Iterator[None]:
    """Base models that have a pooler do without it where it is None, as when they are made without one."""
    pooler = base._modules.get("pooler")
    if pooler is None:
        yield
        return
    base._modules["pooler"] = None
    try:
        yield
    finally:
        base._modules["pooler"] = pooler


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The usual fast attention, telling the model's capture what it was given."""
    claimed = _CAPTURES.get(module)
    capture = None if claimed is None else claimed()
    if capture is not None:
        capture.note_attention(query, key, value, attention_mask, scaling)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )


def _attention_double_backward(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """The same numbers from single operations. In every pass: gradient checkpointing repeats one, and compares."""
    with sdpa_kernel(SDPBackend.MATH):
        return _attention(*args, **kwargs)


for _name, _function in ((INTERFACE, _attention), (DOUBLE_BACKWARD, _attention_double_backward)):
    AttentionInterface.register(_name, _function)
    AttentionMaskInterface.register(_name, sdpa_mask)

"""An encoder of transformers that gives one vector a text: pooling, linear maps and normalisation are in it."""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from distilnlp.errors import RequestError
from distilnlp.models.checks import one_line
from distilnlp.models.reading import reading_settings
from distilnlp.models.sentence_modules import (
    MODULES,
    SentenceModules,
    dense_weights,
    make_dense,
    pool_tokens,
    read_modules,
    write_modules,
)
from distilnlp.models.word_models import StaticConfig
from distilnlp.problems import Problem, get_problem, problem_of_vectors

__all__ = ["SENTENCE", "SentenceEncoder", "SentenceOutput", "describe_vectors", "sentence_modules"]

# The field of a config that says how tokens become a vector. Of a folder, modules.json says it.
SENTENCE = "sentence_modules"


@dataclass
class SentenceOutput(ModelOutput):
    """What a `SentenceEncoder` gives.

    Shapes:
        logits: ``(batch, dimension)``: the vectors.
    """

    logits: Tensor | None = None


def sentence_modules(config: PreTrainedConfig) -> SentenceModules:
    """How a config makes vectors. Raises RequestError where it does not say."""
    found = getattr(config, SENTENCE, None)
    if found is None:
        raise RequestError(
            f"{config.name_or_path or config.model_type} does not say how its tokens become one vector (it has no "
            "modules.json): say it with pooling: mean (or cls)"
        )
    return SentenceModules.from_dict(found)


class SentenceEncoder(PreTrainedModel):
    """A model whose ``logits`` are the vector of a text.

    The encoder stands under the name that it has in every model of its architecture with a head (``bert``), so that
    weights, hidden states and layers are found as in those.

    `save_pretrained` writes a folder that ``SentenceTransformer(folder)`` loads, and ``AutoModel`` of transformers as
    the encoder alone. `distilnlp.models.load_model` reads it, and every other folder of sentence-transformers.

    Args:
        config: of the encoder, with the field ``sentence_modules`` (`SentenceModules.to_dict`).
    Raises:
        RequestError: no such field, or one that is wrong.
    """

    supports_gradient_checkpointing = True
    _supports_attention_backend = True

    def __init__(self, config: PreTrainedConfig) -> None:
        architecture = _architecture(config)
        self._supports_sdpa = architecture._supports_sdpa  # what the next line asks for
        super().__init__(config)
        self.sentence = sentence_modules(config)
        self.base_model_prefix = architecture.base_model_prefix
        # Not from_config, which copies the config: one switch of the attention function is for both.
        setattr(self, self.base_model_prefix, architecture(config))
        self.dense = nn.ModuleList([make_dense(each) for each in self.sentence.dense])
        self._reads = frozenset(inspect.signature(architecture.forward).parameters)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_config(cls, config: PreTrainedConfig) -> "SentenceEncoder":
        """With random weights, as the classes of transformers that are called Auto."""
        return cls(config)

    @property
    def _encoder(self) -> PreTrainedModel:
        encoder: PreTrainedModel = getattr(self, self.base_model_prefix)
        return encoder

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self.sentence.width(self.config.hidden_size)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SentenceOutput:
        """The vectors of a batch.

        Shapes:
            input_ids, attention_mask, token_type_ids: ``(batch, tokens)``; returns ``logits`` ``(batch, dimension)``.
            labels: not read; Trainer asks by them whether there is something to evaluate.
        """
        states = self.states(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
        )
        return SentenceOutput(logits=self.vectors(states, attention_mask))

    def states(self, **inputs: Tensor | None) -> Tensor:
        """The last hidden states of the encoder, ``(batch, tokens, hidden)``; what it does not read is left out."""
        given = {name: tensor for name, tensor in inputs.items() if tensor is not None and name in self._reads}
        states: Tensor = self._encoder(**given).last_hidden_state
        return states

    def vectors(self, states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The vectors ``(batch, dimension)`` of texts with such hidden states; without a mask each token is one."""
        mask = states.new_ones(states.shape[:2]) if attention_mask is None else attention_mask
        vectors = pool_tokens(states, mask, self.sentence.pooling)
        for dense in self.dense:
            vectors = dense(vectors)
        return F.normalize(vectors, dim=-1) if self.sentence.normalize else vectors

    @torch.no_grad()
    def reduced(self, vectors: Tensor, dimension: int) -> "SentenceEncoder":
        """The same encoder with shorter vectors: their principal components, by one linear map more.

        The components are those of the vectors about 0, and the map has no bias, so that the cosine of two vectors is
        kept as well as so many numbers can.

        Args:
            vectors: ``(texts, dimension)``, of this model, of at least ``dimension`` texts like those to come.
            dimension: how many numbers remain, 1 or more and fewer than before.
        Raises:
            RequestError: a dimension that is not smaller, or fewer texts than it has numbers.
        """
        if not 1 <= dimension < self.dimension:
            raise RequestError(
                f"vectors of {self.dimension} numbers cannot be reduced to {dimension}: give a dimension from 1 to "
                f"{self.dimension - 1}"
            )
        if len(vectors) < dimension:
            raise RequestError(
                f"the {dimension} main directions of vectors cannot be seen in {len(vectors)} texts: give at least as "
                "many texts, or a smaller dimension"
            )
        held = vectors.double()
        _, components = torch.linalg.eigh(held.T @ held)  # (dimension before, ...), the largest last
        chosen = components.flip(1)[:, :dimension].T
        # Which way a direction points is the library's choice: its largest number is made positive
        largest = chosen.gather(1, chosen.abs().argmax(dim=1, keepdim=True))
        config = copy.deepcopy(self.config)
        shorter = self.sentence.projected(config.hidden_size, dimension, bias=False)
        setattr(config, SENTENCE, shorter.to_dict())
        made = type(self)(config)
        nn.Module.to(made, self.device)
        made.load_state_dict({**self.state_dict(), f"dense.{len(self.dense)}.linear.weight": chosen * largest.sign()})
        made.train(self.training)
        return made

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module; names that the encoder's weights have in its own folder are taken too."""
        own, prefix = self.state_dict().keys(), f"{self.base_model_prefix}."
        named = {name if name in own else f"{prefix}{name}": tensor for name, tensor in state_dict.items()}
        return super().load_state_dict(named, strict, assign)

    def load_dense(self, folder: Path) -> None:
        """Read the weights of the linear maps from a folder of this model.

        Raises:
            RequestError: they are not there, or of other sizes.
        """
        for place, (dense, weights) in enumerate(zip(self.dense, dense_weights(folder), strict=True)):
            try:
                dense.load_state_dict(weights)
            except RuntimeError as error:
                raise RequestError(
                    f"{folder} has weights in Dense module {place + 1} that do not fit ({one_line(error)}): save the "
                    "model again"
                ) from error

    def save_pretrained(self, save_directory: str | PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Write the folder: the encoder as transformers does, and the modules as sentence-transformers does.

        Args:
            save_directory: the folder.
            args, kwargs: as for the encoder's ``save_pretrained``; a ``state_dict`` is this model's.
        """
        folder = Path(save_directory)
        state = kwargs.pop("state_dict", None) or self.state_dict()
        prefix = f"{self.base_model_prefix}."
        body = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        said = self.config.__dict__.pop(SENTENCE)  # modules.json says it
        try:
            self._encoder.save_pretrained(folder, *args, **{**kwargs, "state_dict": body})
        finally:
            setattr(self.config, SENTENCE, said)
        weights: list[dict[str, Tensor]] = []
        for place in range(len(self.dense)):
            here = f"dense.{place}."
            weights.append({name.removeprefix(here): each for name, each in state.items() if name.startswith(here)})
        similarity = reading_settings(self.config).get("similarity", self.sentence.similarity)
        modules = replace(self.sentence, similarity=similarity)
        static = self.config.model_type == StaticConfig.model_type
        write_modules(folder, modules, self.config.hidden_size, weights, static=static)


def describe_vectors(
    config: PreTrainedConfig, folder: Path, problem: Problem | None = None, pooling: str | None = None
) -> None:
    """Make a config one of a sentence encoder, in place, where its folder says so or vectors are asked for.

    Args:
        config: of the encoder in the folder.
        folder: with ``modules.json`` or without.
        problem: the kind of task that the model is for; None is what the folder says.
        pooling: how tokens become a vector, where the folder does not say it.
    Raises:
        RequestError: modules that cannot be read; vectors are asked for and nothing says how they are made, or two
            do.
    """
    if problem is not None and not problem.vectors:
        if pooling is not None:
            raise RequestError(f"pooling is for sentence embeddings, and the task is {problem.name}: leave it out")
        if config.problem_type and get_problem(str(config.problem_type)).vectors:
            config.problem_type = None  # a body is all that is taken of it
        return
    found = read_modules(folder, config.hidden_size)
    if found is not None and pooling is not None:
        raise RequestError(
            f"{folder} says in {MODULES} that it pools by {' and '.join(found.pooling)}: leave out pooling: {pooling}"
        )
    if found is None and pooling is not None:
        found = SentenceModules((pooling,))
    wanted = problem or problem_of_vectors()
    if found is not None:
        config.problem_type = wanted.name  # type: ignore[assignment]  # theirs lists three kinds
        setattr(config, SENTENCE, found.to_dict())
    elif problem is not None or (config.problem_type and get_problem(str(config.problem_type)).vectors):
        sentence_modules(config)  # says what is missing


def _architecture(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The encoder's class, of transformers alone."""
    mapped: Any = MODEL_MAPPING.get(type(config), None)
    found: type[PreTrainedModel] | None = mapped[0] if isinstance(mapped, tuple) else mapped
    if found is None:
        raise RequestError(
            f"transformers has no encoder of the type {config.model_type}: an encoder such as bert is needed"
        )
    return found

"""`build_student`: a plain transformers model made from a teacher."""

import copy
import os
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError, unknown
from distilnlp.label_names import match_names
from distilnlp.models.heads import model_from_config, name_architecture
from distilnlp.models.word_models import WORD_MODELS
from distilnlp.problems import problem_of_config
from distilnlp.students.choice import Choice, check_measured
from distilnlp.students.importance import important_layers, measure_importance
from distilnlp.students.layers import IMPORTANCE, kept_layers
from distilnlp.students.low_rank import is_low_rank
from distilnlp.students.projection import project
from distilnlp.students.spec import student_config, wide_config
from distilnlp.students.vocabulary import Vocabulary
from distilnlp.students.weights import copy_weights
from distilnlp.students.word_students import build_word_student
from distilnlp.typed import typed

__all__ = ["CHOICES", "INITS", "HoldsModel", "build_student"]

INITS = ("teacher", "random")
CHOICES = ("leading", "importance")


@runtime_checkable
class HoldsModel(Protocol):
    """Anything with a model in it, such as a `FrozenTeacher`."""

    @property
    def model(self) -> PreTrainedModel:
        """The model that answers."""
        ...


Teacher = PreTrainedModel | HoldsModel | str | PathLike[str]


@typed
def build_student(
    teacher: Teacher,
    *,
    layers: int | Sequence[int] | None = None,
    layer_map: str | None = None,
    config: Mapping[str, object] | None = None,
    architecture: str | None = None,
    dimension: int | None = None,
    vocabulary: Vocabulary | None = None,
    student: str | PathLike[str] | PreTrainedModel | None = None,
    init: str = "teacher",
    choose: str | None = None,
    batches: Sequence[Mapping[str, Tensor] | BatchEncoding] | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """A student for ``teacher``: some of its layers, a narrower copy, another architecture, or a checkpoint.

    The student has the teacher's label names and problem type, is in float32 on the CPU in eval mode, and shares no
    memory with the teacher, which is not changed. The layers it was made of, counted from 1, stand in
    ``config.distilnlp_kept_layers`` and are saved with it.

    Args:
        teacher: a model, an object with one as ``.model``, or a folder or Hub id.
        layers: how many layers, chosen by ``layer_map``; or which, counted from 1; None keeps all.
        layer_map: ``"uniform"`` (also None), ``"skip"``, ``"first"``, ``"last"`` or ``"cadence"``: see
            `kept_layers`; ``"importance"``: those that matter most on ``batches``, see `important_layers`.
        config: fields of the student's config that differ, such as ``{"hidden_size": 384}``.
        choose: which heads, feed-forward units and dimensions of the hidden states a narrower student keeps:
            ``"leading"`` (also None): the leading rows and columns of every weight, and so the leading heads, each
            whole, which are cut off and not chosen; ``"importance"``: those of each layer (dimensions: of all layers)
            that matter most on ``batches``, see `measure_importance`.
        batches: inputs of the teacher, some hundred texts: importance is measured on them, and embeddings of a lower
            rank are made for their tokens.
        architecture: ``model_type`` of the student where it is not the teacher's; `architectures` says what carries
            over between which. ``"static"`` and ``"bilstm"`` have none of the teacher's layers, and ``layers`` is then
            how many of LSTM there are: see `build_word_student`.
        dimension: of a sentence encoder, how many numbers the student's vector has; None: as many as the teacher's.
            Where its hidden states are narrower than that, a linear map is learned that is kept in the model. Where
            it is smaller than the teacher's, give a teacher whose vectors are reduced (`SentenceEncoder.reduced`).
        vocabulary: the tokens that the student reads (`trim_vocabulary`), and its tokenizer; None: all of the
            teacher's. It has the teacher's rows of embeddings for them, and of a head over the vocabulary.
        student: a folder or Hub id to load with the teacher's labels, or a model to use as it is, in place of all
            the other arguments.
        init: ``"teacher"`` copies weights; ``"random"`` only takes over sizes and labels.
        seed: for weights that are not copied; torch's global random state is left as it was.
    Raises:
        RequestError: layers, sizes or architectures that do not fit, no texts where they are needed, unknown names, or
            a ``student`` with other labels or together with the arguments that it replaces.
    """
    if init not in INITS:
        raise unknown("init", init, INITS)
    if choose not in (None, *CHOICES):
        raise unknown("choose", choose, CHOICES)
    model = _teacher_model(teacher)
    if student is not None:
        others = (layers, layer_map, config, architecture, dimension, vocabulary, choose, batches, init)
        if others != (*(None,) * 8, "teacher"):
            raise RequestError(
                "a student given by name or as a model is taken whole: leave out layers, layer_map, config, "
                "architecture, dimension, vocabulary, choose, batches and init, or leave out student"
            )
        return _given_student(student, model.config, seed)
    if architecture in WORD_MODELS:
        if layer_map is not None or not (layers is None or isinstance(layers, int)):
            raise RequestError(
                f"a {architecture} student has none of the teacher's layers: leave out layer_map and a list of layers"
            )
        if choose is not None or batches is not None:
            raise RequestError(
                f"a {architecture} student has none of the teacher's layers: leave out choose and batches"
            )
        project(copy.deepcopy(model.config), model.config, dimension)  # says what is wrong with it
        return build_word_student(model, architecture, vocabulary, layers=layers, config=config, init=init, seed=seed)
    if IMPORTANCE in (layer_map, choose):
        check_measured(model.config, layers, layer_map, choose, config, architecture, init)
    elif batches is not None and "embedding_size" not in (config or {}):
        raise RequestError("batches are for 'importance' and for an embedding_size: leave them out")
    inputs = _checked(batches or (), model.config)
    kept = _kept(layers, layer_map, model, inputs)
    settings = student_config(model.config, kept, config or {}, architecture)
    if init == "teacher" and batches is None and is_low_rank(settings, model.config):
        raise RequestError(
            f"an embedding_size of {settings.embedding_size} is made for the tokens of texts: give batches, inputs of "
            "the teacher (an empty list: for all tokens alike)"
        )
    project(settings, model.config, dimension)
    settings.distilnlp_kept_layers = list(kept) if init == "teacher" else None
    made = _fresh(type(model), settings, model.config, seed)
    if init == "teacher" and choose == IMPORTANCE:
        wide = _fresh(type(model), wide_config(model.config, kept, settings, config or {}), model.config, seed)
        copy_weights(model, wide, kept, batches=inputs)
        chosen = Choice(wide, settings, measure_importance(wide, inputs, seed=seed))
        copy_weights(wide, made, range(1, len(kept) + 1), chosen)
    elif init == "teacher":
        copy_weights(model, made, kept, batches=inputs)
    made.eval()
    return made if vocabulary is None else vocabulary.model(made)


def _checked(
    batches: Sequence[Mapping[str, Tensor] | BatchEncoding], teacher: PreTrainedConfig
) -> list[Mapping[str, Tensor]]:
    """The batches, if each holds tokens that the teacher knows."""
    for place, batch in enumerate(batches):
        ids = batch.get("input_ids")
        if not isinstance(ids, Tensor) or ids.dim() != 2 or not ids.numel():
            what = "none" if ids is None else f"a {type(ids).__name__}"
            raise RequestError(
                f"batches[{place}] needs input_ids, a tensor (texts, tokens); got {what}: give what the teacher's "
                "tokenizer makes of texts with padding=True and return_tensors='pt'"
            )
        if not 0 <= int(ids.min()) <= int(ids.max()) < teacher.vocab_size:
            raise RequestError(
                f"batches[{place}] has token {int(ids.max())} and the teacher knows {teacher.vocab_size}, counted "
                "from 0: read the texts with the teacher's own tokenizer"
            )
    return [dict(batch) for batch in batches]


def _kept(
    layers: int | Sequence[int] | None,
    layer_map: str | None,
    model: PreTrainedModel,
    batches: Sequence[Mapping[str, Tensor]],
) -> tuple[int, ...]:
    depth, types = model.config.num_hidden_layers, getattr(model.config, "layer_types", None)
    if layers is None or isinstance(layers, int):
        if layer_map != IMPORTANCE:
            return kept_layers(layer_map or "uniform", layers, depth, types)
        every = kept_layers("first", layers, depth)  # as many as asked for, if there are
        return important_layers(model, len(every), batches)
    if layer_map is not None:
        raise RequestError(f"layers {list(layers)} are a choice already: leave out layer_map '{layer_map}'")
    return kept_layers(layers, None, depth)


def _teacher_model(teacher: Teacher) -> PreTrainedModel:
    if isinstance(teacher, str | PathLike):
        from distilnlp.models.loading import load_classifier

        return load_classifier(os.fspath(teacher))
    # The order matters: some models of transformers have a `.model` themselves.
    if not isinstance(teacher, PreTrainedModel) and isinstance(teacher, HoldsModel):
        teacher = teacher.model
    if not isinstance(teacher, PreTrainedModel):
        raise RequestError(
            f"the teacher is a {type(teacher).__name__}: give a transformers model, a loaded teacher, or the "
            "name of a model"
        )
    name_architecture(teacher)
    return teacher


def _given_student(
    student: str | PathLike[str] | PreTrainedModel, teacher: PreTrainedConfig, seed: int
) -> PreTrainedModel:
    problem = problem_of_config(teacher)
    names = _names(teacher)
    if not isinstance(student, PreTrainedModel):
        from distilnlp.models.loading import load_classifier

        label_names = names if problem.named_labels else None
        return load_classifier(os.fspath(student), label_names=label_names, problem=problem, seed=seed)
    own = _names(student.config)
    if match_names(names, own) != tuple(range(len(names))):
        raise RequestError(
            f"the student's labels are {own} and the teacher's {names}: put the student's into the teacher's order "
            "with distilnlp.models.align_labels(model, label_names), or correct id2label in its config"
        )
    return student


def _names(config: PreTrainedConfig) -> list[str]:
    return [str(name) for _, name in sorted((int(key), name) for key, name in (config.id2label or {}).items())]


def _fresh(
    model_class: type[PreTrainedModel], config: PreTrainedConfig, teacher: PreTrainedConfig, seed: int
) -> PreTrainedModel:
    """A new model of ``config``, on the CPU, with weights that ``seed`` decides."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if config.model_type == teacher.model_type:
            return model_class(config)
        problem = problem_of_config(teacher)
        if type(problem_of_config(config)) is not type(problem):  # the teacher's class alone told it
            config.problem_type = problem.name  # type: ignore[assignment]  # theirs lists three kinds
        return model_from_config(config)

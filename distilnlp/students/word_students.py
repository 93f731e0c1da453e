"""Students of a table of embeddings: what their rows start with, which the teacher says of each token alone."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError, unknown
from distilnlp.models.heads import model_from_config
from distilnlp.models.sentence_encoder import SENTENCE, SentenceEncoder, sentence_modules
from distilnlp.models.sentence_modules import SentenceModules
from distilnlp.models.word_models import WORD_MODELS
from distilnlp.problems import problem_of_config
from distilnlp.students.vocabulary import Vocabulary

__all__ = ["build_word_student", "token_rows"]

WIDTH = 256  # of a row, where nothing is said and the teacher's states are wider
FREQUENT = 1e-3  # share of all tokens that halves a token's weight
AT_ONCE = 512  # tokens that the teacher reads at a time, each between its special ones
SIZES = {
    "static": ("hidden_size", "classifier_size", "classifier_dropout"),
    "bilstm": ("embedding_size", "hidden_size", "classifier_size", "classifier_dropout"),
}


def build_word_student(
    teacher: PreTrainedModel,
    kind: str,
    vocabulary: Vocabulary | None,
    *,
    layers: int | None = None,
    config: Mapping[str, object] | None = None,
    init: str = "teacher",
    seed: int = 0,
) -> PreTrainedModel:
    """A student that is a table of embeddings and little more, with the teacher's labels, in eval mode.

    Args:
        teacher: a classifier or a sentence encoder; it is not changed.
        kind: ``static`` (the mean of a text's rows) or ``bilstm``.
        vocabulary: whose tokens have rows, and how often texts have them.
        layers: of LSTM, 1 where nothing is said.
        config: sizes that differ: see `distilnlp.models.word_models`.
        init: ``teacher``: rows as `token_rows`; ``random``.
        seed: of all that the teacher does not decide.
    Source: static: Model2Vec (Tulkens and van Dongen 2024) and, for the weights, Arora et al. 2017 (A simple but
        tough-to-beat baseline for sentence embeddings); bilstm: Tang et al. 2019, arXiv:1903.12136, with one text or
        a pair read as the teacher's tokenizer joins it.
    Raises:
        RequestError: a kind of task that is not answered by text; no vocabulary; sizes that cannot be.
    """
    problem = problem_of_config(teacher.config)
    if not problem.vectors and problem.auto_class != "AutoModelForSequenceClassification":
        raise RequestError(
            f"a {kind} student has one vector a text, and {problem.name} is answered by token: take layers of the"
            " teacher, or another architecture"
        )
    if problem.vectors and kind != "static":
        raise RequestError(f"a {kind} student answers with classes or numbers: for vectors take architecture static")
    if vocabulary is None:
        raise RequestError(
            f"a {kind} student has a row for each token: give vocabulary=trim_vocabulary(tokenizer, texts), or"
            " Vocabulary.whole_of(tokenizer)"
        )
    modules = sentence_modules(teacher.config) if problem.vectors else None
    width = teacher.config.hidden_size if modules is None else modules.width(teacher.config.hidden_size)
    made = _config(teacher.config, kind, vocabulary, width, modules, layers, config or {})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        student = model_from_config(made)
    if init == "teacher" and _table(student).device.type != "meta":
        _start(student, teacher, vocabulary, about_zero=problem.vectors)
    student.eval()
    return student


def _config(
    teacher: PreTrainedConfig,
    kind: str,
    vocabulary: Vocabulary,
    width: int,
    modules: SentenceModules | None,
    layers: int | None,
    changes: Mapping[str, object],
) -> PreTrainedConfig:
    wrong = next((name for name in changes if name not in SIZES[kind]), None)
    if wrong is not None:
        raise unknown(f"field of the config of a {kind} student", wrong, SIZES[kind])
    if layers is not None and (kind == "static" or isinstance(layers, bool) or layers < 1):
        raise RequestError(
            "a static student has no layers: leave layers out"
            if kind == "static"
            else f"a bilstm student of {layers} layers cannot be: give 1 or more"
        )
    row = "hidden_size" if kind == "static" else "embedding_size"
    sizes: dict[str, object] = {row: min(WIDTH, width) if modules is None else width, **changes}
    for name in SIZES[kind][:-1]:
        size = sizes.get(name, 1)
        most = width if name == row else None
        odd = kind == "bilstm" and name == "hidden_size" and name in sizes and isinstance(size, int) and size % 2
        if isinstance(size, bool) or not isinstance(size, int) or size < 1 or (most and size > most) or odd:
            needed = f"1 to {most}" if most else "an even number from 2" if odd else "a whole number from 1"
            raise RequestError(f"the {kind} student's {name} is {size!r:.40}: {needed} is needed")
    dropped = sizes.get("classifier_dropout", 0.0)
    if isinstance(dropped, bool) or not isinstance(dropped, int | float) or not 0 <= dropped < 1:
        raise RequestError(f"the {kind} student's classifier_dropout is {dropped!r:.40}: a share from 0 below 1")
    fields = {
        **sizes,
        "vocab_size": len(vocabulary),
        "pad_token_id": vocabulary.tokenizer.pad_token_id,
        "id2label": dict(teacher.id2label or {}),
        "label2id": dict(teacher.label2id or {}),
        "problem_type": problem_of_config(teacher).name,
    }
    if kind == "static":
        special = {*vocabulary.tokenizer.all_special_ids} - {vocabulary.tokenizer.unk_token_id}
        fields["special_token_ids"] = sorted(special)
    elif layers is not None:
        fields["num_hidden_layers"] = layers
    made = WORD_MODELS[kind](**fields)
    if modules is not None:
        own = SentenceModules(("mean",), (), modules.normalize, modules.max_tokens, modules.similarity)
        if made.hidden_size != width:
            own = own.projected(made.hidden_size, width, bias=False)
        setattr(made, SENTENCE, own.to_dict())
    return made


@torch.no_grad()
def _start(student: PreTrainedModel, teacher: PreTrainedModel, vocabulary: Vocabulary, *, about_zero: bool) -> None:
    """Give a student the rows that its teacher says, in place."""
    table = _table(student)
    static = student.config.model_type == "static"
    states = token_rows(teacher, vocabulary)
    rows, directions = _shortened(states, table.shape[1], about_zero=about_zero)
    if static:
        counts = torch.tensor(vocabulary.counts, dtype=torch.float64)
        shares = counts / counts.sum().clamp_min(1)
        rows = rows * (FREQUENT / (FREQUENT + shares))[:, None]
    if not about_zero:  # of vectors the length is the teacher's
        rows = rows / rows.square().mean().sqrt().clamp_min(1e-12)
    table.copy_(rows)
    if isinstance(student, SentenceEncoder) and len(student.dense):
        student.dense.get_submodule("0.linear").get_parameter("weight").copy_(directions)


@torch.no_grad()
def token_rows(teacher: PreTrainedModel, vocabulary: Vocabulary) -> Tensor:
    """The teacher's last hidden state of each kept token that stands alone between its special tokens.

    Of a sentence encoder that maps its vectors, what the maps make of it.

    Shapes:
        returns ``(len(vocabulary), width)``, float64, on the CPU.
    """
    before, behind = _around(vocabulary)
    body: nn.Module = teacher.base_model
    was_training = teacher.training
    teacher.eval()
    found: list[Tensor] = []
    device = _table(teacher).device
    for start in range(0, len(vocabulary), AT_ONCE):
        inner = vocabulary.kept[start : start + AT_ONCE]
        ids = torch.tensor([[*before, each, *behind] for each in inner], device=device)
        states = body(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, len(before)]
        if isinstance(teacher, SentenceEncoder):
            for dense in teacher.dense:
                states = dense(states)
        found.append(states.double().cpu())
    teacher.train(was_training)
    return torch.cat(found)


def _table(model: PreTrainedModel) -> nn.Parameter:
    return model.get_input_embeddings().get_parameter("weight")


def _around(vocabulary: Vocabulary) -> tuple[Sequence[int], Sequence[int]]:
    """The special tokens in front of a text and behind it, as the teacher's tokenizer numbers them."""
    encoded = vocabulary.whole("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    text = [place for place, each in enumerate(special) if not each] or [len(ids)]
    return ids[: text[0]], ids[text[-1] + 1 :]


def _shortened(states: Tensor, width: int, *, about_zero: bool) -> tuple[Tensor, Tensor]:
    """The main directions of some states: the states along them, and the directions.

    Args:
        states: ``(tokens, old width)``.
        about_zero: whether they are seen from 0 and not from their mean, so that a map without bias goes back.
    Shapes:
        returns ``(tokens, width)`` and ``(old width, width)``; the states themselves where nothing is shortened.
    """
    if width == states.shape[1] and about_zero:
        return states, torch.eye(width, dtype=states.dtype)
    held = states if about_zero else states - states.mean(dim=0)
    _, components = torch.linalg.eigh(held.T @ held)
    chosen = components.flip(1)[:, :width]
    # Which way a direction points is the library's choice: its largest number is made positive
    chosen = chosen * chosen.gather(0, chosen.abs().argmax(dim=0, keepdim=True)).sign()
    return held @ chosen, chosen

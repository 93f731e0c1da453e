"""Students that keep what matters most: whole parts of the teacher's, in their order, in a plain model."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.backend import TorchBackend
from distilnlp.models.heads import model_from_config
from distilnlp.models.predictor import Predictor
from distilnlp.models.units import own_layers, unit_names
from distilnlp.problems import get_problem, list_problems
from distilnlp.students import build_student
from distilnlp.students.choice import Choice
from distilnlp.students.importance import Importance
from distilnlp.students.spec import student_config
from distilnlp.students.weights import copy_weights
from tests.models.test_sentence_encoder import tiny_encoder
from tests.students.test_build import batch, logits, teacher_of
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer


def chosen_student(teacher: PreTrainedModel, importance: Importance, **config: int) -> PreTrainedModel:
    """A student of all layers by an importance that the test makes up."""
    kept = range(1, teacher.config.num_hidden_layers + 1)
    settings = student_config(teacher.config, kept, config, None)
    student = type(teacher)(settings).eval()
    copy_weights(teacher, student, kept, Choice(teacher, settings, importance))
    return student


def some_importance(teacher: PreTrainedModel) -> Importance:
    generator, layers = torch.Generator().manual_seed(3), len(own_layers(teacher))
    heads, units, hidden = (torch.rand(size, generator=generator) for size in ((layers, 4), (layers, 64), (32,)))
    return Importance(heads, units, hidden)


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_student_of_the_same_sizes_is_its_teacher_bit_for_bit(kind: str) -> None:
    teacher = teacher_of(kind)
    same = {"hidden_size": 32, "intermediate_size": 64}
    student = build_student(teacher, config=same, choose="importance", batches=[batch()])
    assert torch.equal(logits(student), logits(teacher))
    state = teacher.state_dict()
    assert all(torch.equal(weight, state[name]) for name, weight in student.state_dict().items())


@pytest.mark.parametrize("kind", BACKBONES)
def test_units_that_write_nothing_can_go_without_a_trace(kind: str, tmp_path: Path) -> None:
    """Other ones in each layer, and the student that is loaded again is a plain model with the teacher's answers."""
    teacher, names = teacher_of(kind), unit_names(kind)
    with torch.no_grad():
        for place, layer in enumerate(own_layers(teacher)):
            layer.get_submodule(names.units_out).weight[:, place : 60 + place : 3] = 0  # 20 of 64
    student = build_student(teacher, config={"intermediate_size": 44}, choose="importance", batches=[batch()])
    torch.testing.assert_close(logits(student), logits(teacher), atol=1e-6, rtol=1e-5)
    student.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded), logits(student))
    assert own_layers(loaded)[0].get_submodule(names.units_out).in_features == 44


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_units_that_stay_are_the_ones_that_a_mask_leaves(kind: str) -> None:
    """Cutting is the same as multiplying with 0 what the units write."""
    teacher, names = teacher_of(kind), unit_names(kind)
    importance = some_importance(teacher)
    student = chosen_student(teacher, importance, intermediate_size=24)
    with torch.no_grad():
        for each, layer in zip(importance.units, own_layers(teacher), strict=True):
            out = layer.get_submodule(names.units_out)
            out.weight[:, each < each.sort(descending=True).values[23]] = 0
    torch.testing.assert_close(logits(student), logits(teacher), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", BACKBONES)
def test_heads_are_kept_whole_with_the_dimensions_that_matter(kind: str) -> None:
    """Heads 1 and 3 of each layer, and the odd dimensions: rows, columns, norms and tables."""
    teacher, names = teacher_of(kind), unit_names(kind)
    layers, odd = len(own_layers(teacher)), torch.arange(32) % 2
    heads = torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(layers, 4)
    student = chosen_student(
        teacher, Importance(heads, torch.ones(layers, 64), odd.float()), hidden_size=16, intermediate_size=64
    )
    assert (student.config.hidden_size, student.config.num_attention_heads) == (16, 2)
    wide, narrow = (own_layers(model)[-1] for model in (teacher, student))
    kept = torch.cat([torch.arange(8, 16), torch.arange(24, 32)])
    out, own_out = (layer.get_submodule(names.heads_out).weight for layer in (wide, narrow))
    assert torch.equal(own_out, out[odd == 1][:, kept])
    into, own_into = (layer.get_submodule(names.heads_in[0]).weight for layer in (wide, narrow))
    stacked = into.shape[0] // 32
    assert torch.equal(own_into, torch.cat([part[kept][:, odd == 1] for part in into.chunk(stacked)]))
    assert torch.isfinite(logits(student)).all()
    table, own_table = (model.get_input_embeddings().weight for model in (teacher, student))
    assert torch.equal(own_table, table if kind == "albert" else table[:, odd == 1])


def test_a_table_as_long_as_the_model_is_wide_keeps_its_rows() -> None:
    """64 positions and a width of 64: what is cut in the columns is not cut in the rows."""
    teacher = teacher_of("bert", hidden_size=64)
    importance = Importance(torch.ones(4, 4), torch.ones(4, 64), torch.arange(64).float())
    student = chosen_student(teacher, importance, hidden_size=32, max_position_embeddings=32)
    name = "bert.embeddings.position_embeddings.weight"
    assert torch.equal(student.state_dict()[name], teacher.state_dict()[name][:32, 32:])


def test_layers_are_chosen_before_what_is_in_them() -> None:
    teacher = teacher_of("bert")
    student = build_student(
        teacher,
        layers=2,
        layer_map="importance",
        config={"intermediate_size": 32},
        choose="importance",
        batches=[batch()],
    )
    kept = build_student(teacher, layers=2, layer_map="importance", batches=[batch()])
    again = build_student(kept, config={"intermediate_size": 32}, choose="importance", batches=[batch()])
    assert student.config.distilnlp_kept_layers == kept.config.distilnlp_kept_layers
    assert torch.equal(logits(student), logits(again))


def test_fewer_units_are_fewer_parameters() -> None:
    teacher = teacher_of("bert")
    student = build_student(teacher, config={"intermediate_size": 16}, choose="importance", batches=[batch()])
    # Of each unit a row, a bias and a column, in each of 4 layers.
    assert teacher.num_parameters() - student.num_parameters() == 4 * 48 * (32 + 1 + 32)


def test_the_chosen_lose_less_than_the_leading() -> None:
    """Where the units that come first are the ones that matter least."""
    teacher = teacher_of("bert")
    with torch.no_grad():
        for layer in own_layers(teacher):
            layer.output.dense.weight[:, :32] *= 0.01
    chosen = build_student(teacher, config={"intermediate_size": 32}, choose="importance", batches=[batch()])
    leading = build_student(teacher, config={"intermediate_size": 32})
    lost = [float((logits(student) - logits(teacher)).square().mean()) for student in (chosen, leading)]
    assert lost[0] < lost[1] / 10


def test_a_student_of_another_architecture_is_chosen_too() -> None:
    teacher = teacher_of("bert")
    student = build_student(
        teacher, architecture="distilbert", config={"hidden_dim": 32}, choose="importance", batches=[batch()]
    )
    assert (student.config.model_type, student.config.hidden_dim) == ("distilbert", 32)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"choose": "importance"}, "nothing to choose from"),
        ({"choose": "best"}, "unknown choose 'best'"),
        ({"layer_map": "importance"}, "as many layers as 'layers' says"),
        ({"layer_map": "importance", "layers": [1, 2]}, "as many layers as 'layers' says"),
        ({"layer_map": "importance", "layers": 9}, "ask for 1 to 4"),
        ({"layer_map": "importance", "layers": 2, "init": "random"}, "init 'random' keeps none"),
        ({"layer_map": "importance", "layers": 2, "batches": None}, "give at least one batch"),
        ({"layer_map": "first", "layers": 2}, "for an embedding_size: leave them out"),
        ({"choose": "importance", "config": {"hidden_size": 12}}, "use a multiple of 8"),
        ({"choose": "importance", "config": {"intermediate_size": 99}}, "cannot be larger"),
    ],
)
def test_what_cannot_be_chosen_is_refused(wanted: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_student(teacher_of("bert"), **{"batches": [batch()], **wanted})  # type: ignore[arg-type]


def test_architectures_whose_parts_cannot_be_chosen_are_refused_by_name() -> None:
    with pytest.raises(RequestError, match="layers share their weights, so that none matters most"):
        build_student(teacher_of("albert"), layers=2, layer_map="importance", batches=[batch()])
    with pytest.raises(RequestError, match="layers of mpnet share a table"):
        build_student(mpnet(), config={"hidden_size": 16}, choose="importance", batches=[batch()])
    student = build_student(mpnet(), config={"intermediate_size": 16}, choose="importance", batches=[batch()])
    assert student.config.intermediate_size == 16
    with pytest.raises(RequestError, match="units of megatron-bert are not known by name"):
        build_student(plain("megatron-bert"), config={"intermediate_size": 16}, choose="importance", batches=[batch()])


def mpnet() -> PreTrainedModel:
    return plain("mpnet", bos_token_id=2)


def plain(kind: str, **config: object) -> PreTrainedModel:
    """A model of an architecture that is not among the backbones."""
    from transformers import AutoConfig

    sizes: dict[str, object] = dict.fromkeys(("hidden_size", "intermediate_size"), 32)
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 66, "vocab_size": 64}
    made: PreTrainedModel = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(kind, **{**sizes, **config}, pad_token_id=0)
    )
    made.config.problem_type = "single_label_classification"
    return made.eval()


def test_deberta_of_the_first_version_keeps_whole_heads() -> None:
    """Queries, keys and values of a head stand together in one matrix."""
    teacher = plain("deberta", relative_attention=True, pos_att_type=["c2p", "p2c"], position_biased_input=False)
    heads = torch.tensor([[0.0, 1.0, 0.0, 1.0]] * 2)
    student = chosen_student(teacher, Importance(heads, torch.ones(2, 32), torch.ones(32)), hidden_size=16)
    wide, narrow = (own_layers(model)[1].attention.self for model in (teacher, student))
    kept = wide.in_proj.weight.view(4, 24, 32)[[1, 3], :, :16].flatten(0, 1)
    assert torch.equal(narrow.in_proj.weight, kept)
    assert torch.equal(narrow.pos_proj.weight, wide.pos_proj.weight.view(4, 8, 32)[[1, 3], :, :16].flatten(0, 1))
    answers: Tensor = student(**batch()).logits
    assert torch.isfinite(answers).all()


TEXTS_OF = {
    "token_classification": [(["the", "good", "film"],), (["a", "bad", "book", "we"],)],
    "question_answering": [("the film", "good film it was"), ("a book", "we saw the book")],
    "ranking": [("the film", ["good film", "bad book"]), ("a book", ["we saw it", "fine meal"])],
    "retrieval": [("the film", ["good film", "bad book"]), ("a book", ["we saw it", "fine meal"])],
}


@pytest.mark.parametrize("name", list_problems())
def test_importance_is_measured_for_every_kind_of_task(name: str) -> None:
    """By what its head gives: rows of classes of texts or of tokens, places, or vectors."""
    problem = get_problem(name)
    if problem.vectors:
        model: PreTrainedModel = tiny_encoder()
        model.config.problem_type = name
    else:
        config = tiny_model("bert").config
        for key, value in problem.config_settings(("a", "b") if problem.named_labels else None).items():
            setattr(config, key, value)
        model = model_from_config(config).eval()
    predictor = Predictor(TorchBackend(model), tiny_tokenizer(), max_length=32)
    inputs = [predictor.encode(TEXTS_OF.get(name, [("the good film",), ("a bad book we saw",)]))]
    sizes = {"intermediate_size": 24, "hidden_size": 16}
    choices = {"layers": 1, "layer_map": "importance", "choose": "importance", "batches": inputs}
    student = build_student(model, config=sizes, **choices)
    assert type(student) is type(model)
    assert TorchBackend(student)(inputs[0]).shape == TorchBackend(model)(inputs[0]).shape
    if problem.labels_itself:  # whose head reads the table of words
        return
    half = build_student(model, layers=1)
    same, low = (
        build_student(model, layers=1, architecture="albert", config={"embedding_size": size}, batches=inputs)
        for size in (32, 12)
    )
    torch.testing.assert_close(TorchBackend(same)(inputs[0]), TorchBackend(half)(inputs[0]), atol=1e-5, rtol=1e-4)
    assert low.get_input_embeddings().weight.shape[1] == 12


def test_batches_are_what_the_tokenizer_gives_or_are_refused() -> None:
    wanted = {"config": {"intermediate_size": 32}, "choose": "importance"}
    read = tiny_tokenizer()(["the good film", "we saw a bad book"], padding=True, return_tensors="pt")
    assert build_student(teacher_of("bert"), **wanted, batches=[read]).config.intermediate_size == 32
    for wrong, message in (
        ({"attention_mask": torch.ones(1, 2)}, r"batches\[1\] needs input_ids.*got none"),
        ({"input_ids": torch.ones(2)}, "got a Tensor"),
        (tiny_tokenizer()(["the good film"]), "got a list"),
        ({"input_ids": torch.tensor([[2, 999]])}, r"token 999 and the teacher knows 47"),
    ):
        with pytest.raises(RequestError, match=message):
            build_student(teacher_of("bert"), **wanted, batches=[read, wrong])  # type: ignore[list-item]

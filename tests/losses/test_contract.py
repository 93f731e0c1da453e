"""What holds for every registered loss (the invariants I1 to I13)."""

import dataclasses
import inspect
import re

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap
from distilnlp.losses import Objective, get_loss, list_losses, loss_class
from distilnlp.losses.response.class_weights import WeighsClasses
from distilnlp.outputs import Needs, Outputs
from tests.losses.cases import CASES, SAME_LAYERS, Case, mapped, outputs

every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_loss_with_a_teacher = pytest.mark.parametrize(
    "case", [case for case in CASES if loss_class(case.name).uses_teacher], ids=lambda case: case.name
)


def value(case: Case, student: Outputs, teacher: Outputs, batch: dict[str, Tensor] | None = None) -> Tensor:
    return case.make()(student, teacher, case.batch() if batch is None else batch, case.module(student))


def pair(case: Case, dtype: torch.dtype = torch.float32) -> tuple[Outputs, Outputs]:
    return outputs(0, case.classes, dtype), outputs(1, case.classes, dtype)


def with_gradient(out: Outputs) -> tuple[Outputs, list[Tensor]]:
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor, axis: int) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        leaves.append(tensor.clone().requires_grad_())
        return leaves[-1]

    return mapped(out, leaf), leaves


def test_every_registered_loss_has_a_row_in_the_table() -> None:
    assert sorted({case.name for case in CASES}) == list_losses()


@pytest.mark.parametrize("case", [case for case in CASES if case.zero_at_equality], ids=lambda case: case.name)
def test_i1_equal_outputs_give_zero_and_no_gradient(case: Case) -> None:
    settings = {**case.settings, **SAME_LAYERS} if "layer_map" in case.settings else case.settings
    student, leaves = with_gradient(outputs(0, case.classes))
    loss = get_loss(case.name, **settings)(student, outputs(0, case.classes), case.batch())
    loss.backward()
    assert loss.item() == pytest.approx(case.lowest(outputs(0, case.classes)), abs=1e-5)
    assert all(leaf.grad is None or float(leaf.grad.abs().max()) < 1e-5 for leaf in leaves)


@every_loss
def test_i2_the_student_gets_a_gradient_and_the_teacher_none(case: Case) -> None:
    student, student_leaves = with_gradient(outputs(0, case.classes))
    teacher, teacher_leaves = with_gradient(outputs(1, case.classes))
    value(case, student, teacher).backward()
    assert any(leaf.grad is not None and float(leaf.grad.abs().sum()) > 0 for leaf in student_leaves)
    assert all(leaf.grad is None for leaf in teacher_leaves)


@every_loss
@pytest.mark.parametrize("side", ["right", "left"])
def test_i3_padding_changes_nothing_whatever_stands_in_it(case: Case, side: str) -> None:
    def pad(tensor: Tensor, axis: int) -> Tensor:
        if axis < 0:
            return tensor
        shape = list(tensor.shape)
        shape[axis] = 3
        rubbish = torch.full(shape, 0 if not tensor.is_floating_point() else 1e4, dtype=tensor.dtype)
        return torch.cat([tensor, rubbish] if side == "right" else [rubbish, tensor], dim=axis)

    student, teacher = pair(case)
    padded = value(case, mapped(student, pad), mapped(teacher, pad))
    torch.testing.assert_close(padded, value(case, student, teacher))


@every_loss
def test_i4_the_order_of_the_batch_changes_nothing(case: Case) -> None:
    order = torch.tensor([2, 0, 3, 1])
    student, teacher = pair(case)
    shuffled = [mapped(out, lambda tensor, _: tensor[order]) for out in (student, teacher)]
    batch = {name: tensor[order] for name, tensor in case.batch().items()}
    torch.testing.assert_close(value(case, *shuffled, batch), value(case, student, teacher))


@every_loss
def test_i4_a_batch_of_one_is_finite(case: Case) -> None:
    one = [mapped(out, lambda tensor, _: tensor[:1]) for out in pair(case)]
    assert torch.isfinite(value(case, *one, {name: tensor[:1] for name, tensor in case.batch().items()}))


@every_loss
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_i6_micro_batches_weighted_by_their_examples_equal_one_batch(case: Case, cut: int) -> None:
    """Gradient accumulation and several processes rely on it; texts of unequal length are the hard case."""
    student, teacher = pair(case)
    if case.make().batch_dependent:
        text = inspect.getdoc(loss_class(case.name)) or ""
        assert re.search("over the batch|meet in a batch", text)  # it says so, and why
        return
    parts = []
    for rows in (slice(0, cut), slice(cut, 4)):
        part = [mapped(out, lambda tensor, _, rows=rows: tensor[rows]) for out in (student, teacher)]
        batch = {name: tensor[rows] for name, tensor in case.batch().items()}
        parts.append(value(case, *part, batch) * len(range(4)[rows]) / 4)
    torch.testing.assert_close(parts[0] + parts[1], value(case, student, teacher))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_i7_half_precision_inputs_are_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    half = pair(case, dtype)
    exact = [mapped(out, lambda tensor, _: tensor.float() if tensor.is_floating_point() else tensor) for out in half]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = Objective([(1.0, case.make())])(*half, case.batch(), case.modules(half[0]))
    assert total.dtype == torch.float32 and total.shape == ()
    torch.testing.assert_close(total, value(case, *exact))


@every_loss
@pytest.mark.parametrize("scale", [1e-8, 1e4])
def test_i7_loss_and_gradient_are_finite_far_out(case: Case, scale: float) -> None:
    scaled = [
        mapped(out, lambda tensor, _: tensor * scale if tensor.is_floating_point() else tensor) for out in pair(case)
    ]
    student, leaves = with_gradient(scaled[0])
    loss = value(case, student, scaled[1])
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves if leaf.grad is not None)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if not case.constants], ids=lambda case: case.name)
def test_the_gradient_is_the_derivative(case: Case) -> None:
    student, teacher = pair(case, torch.float64)
    fields = ("logits", "hidden_states", "queries", "keys", "values", "input_gradients")
    names = [field for field in fields if _used(case, field)]
    whole = {"logits", "input_gradients"}  # the others are one a layer

    def loss_of(*tensors: Tensor) -> Tensor:
        changed = dict(zip(names, tensors, strict=True))
        replaced = {
            name: changed[name] if name in whole else {**getattr(student, name), 2: changed[name]} for name in names
        }
        return value(case, dataclasses.replace(student, **replaced), teacher)

    inputs = [getattr(student, name) if name in whole else getattr(student, name)[2] for name in names]
    if case.name == "embedding":
        return  # layer 0 is not layer 2; hidden_state is the same function and is checked
    assert torch.autograd.gradcheck(loss_of, [tensor.clone().requires_grad_() for tensor in inputs])


@every_loss
def test_no_loss_looks_at_a_number_on_an_accelerator(case: Case) -> None:
    """To look is to wait for the device. A meta tensor has no numbers: whoever looks fails, and has to say so."""
    student, teacher = (mapped(out, lambda tensor, axis: tensor.to("meta")) for out in pair(case))
    student, leaves = with_gradient(student)
    batch = {name: tensor.to("meta") for name, tensor in case.batch().items()}
    if case.make().syncs_device:
        assert "waited for once a step" in " ".join((inspect.getdoc(loss_class(case.name)) or "").split())
        with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
            value(case, student, teacher, batch)
        return
    value(case, student, teacher, batch).backward()
    assert any(leaf.grad is not None for leaf in leaves)


@every_loss
def test_a_loss_reads_only_what_it_declares(case: Case) -> None:
    """The trainer captures what is declared: a loss that reads more would find it missing."""
    student, teacher = pair(case)
    loss = case.make()
    only = [_restricted(student, loss.needs_student()), _restricted(teacher, loss.needs_teacher())]
    restricted = loss(*only, case.batch(), case.module(student))
    torch.testing.assert_close(restricted, value(case, student, teacher))


@every_loss
def test_words_are_asked_for_before_the_models_are_known_and_never_of_the_teacher(case: Case) -> None:
    """Texts are tokenised, with their words or without, before a layer map is resolved."""
    loss = case.make()
    assert loss.needs_always().words == loss.needs_student().words
    assert loss.needs_student() | loss.needs_always() == loss.needs_student()
    assert not loss.needs_teacher().words


@every_loss_with_a_teacher
def test_missing_outputs_are_an_error_that_names_them(case: Case) -> None:
    with pytest.raises(RequestError, match=r"needs|gave none|no teacher|there is none"):
        case.make()(Outputs(), Outputs(), case.batch(), case.module(outputs(0)))
    with pytest.raises(RequestError, match="there is none"):
        case.make()(outputs(0, case.classes), None, case.batch())


@every_loss
def test_settings_survive_the_round_trip_through_a_recipe(case: Case) -> None:
    loss = case.make()
    settings = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss) if field.init}
    assert get_loss(case.name, **settings) == loss


@every_loss
def test_a_setting_that_does_not_exist_is_refused_with_the_nearest(case: Case) -> None:
    with pytest.raises(RequestError, match="no setting"):
        get_loss(case.name, temprature=1.0)


@every_loss
def test_resolving_fixes_the_layer_map_and_checks_the_pair(case: Case) -> None:
    resolved = case.make().resolve(case.info(), case.info())
    assert resolved.needs_student() and (resolved.needs_teacher() or not resolved.uses_teacher)
    if resolved.uses_teacher:
        with pytest.raises(RequestError):
            case.make().resolve(case.info(), None)
    if case.settings.get("layer_map"):
        with pytest.raises(RequestError, match="layers 0 to 1"):
            case.make().resolve(case.info(layers=1), case.info())
        by_name = get_loss(case.name, **{**case.settings, "layer_map": "uniform"}).resolve(
            case.info(layers=2), case.info(layers=4)
        )
        assert by_name.pairs == LayerMap(((1, 2), (2, 4)))  # type: ignore[attr-defined]


@every_loss
def test_the_docstring_says_what_a_reader_needs(case: Case) -> None:
    cls = loss_class(case.name)
    text = inspect.getdoc(cls) or ""
    for heading in ("Shapes:", "Units:", "Source:", "Raises:"):
        assert heading in text, heading
    parameters = inspect.signature(cls).parameters
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    documented = re.findall(r"^    (\w+):", text.split("Args:")[1].split("Shapes:")[0], re.M) if fields else []
    # One that can only be given by name may stand anywhere.
    ordered = [name for name in parameters if parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY]
    assert [name for name in documented if name in ordered] == ordered and sorted(documented) == sorted(fields)


weighs_examples = pytest.mark.parametrize(
    "case", [case for case in CASES if loss_class(case.name).weighs_examples], ids=lambda case: case.name
)
weighs_classes = pytest.mark.parametrize(
    "case", [case for case in CASES if issubclass(loss_class(case.name), WeighsClasses)], ids=lambda case: case.name
)


def weighed(out: Outputs, weights: list[float]) -> Outputs:
    """With weights of mean 1, as the training data have."""
    numbers = torch.tensor(weights)
    return dataclasses.replace(out, weights=numbers / numbers.mean())


def of_rows(case: Case, rows: list[int], weights: list[float] | None = None) -> Tensor:
    student, teacher = (mapped(out, lambda tensor, _: tensor[rows]) for out in pair(case))
    batch = {name: tensor[rows] for name, tensor in case.batch().items()}
    return value(case, student if weights is None else weighed(student, weights), teacher, batch)


def test_only_what_relates_examples_to_one_another_cannot_weigh_them() -> None:
    unable = {name for name in list_losses() if not loss_class(name).weighs_examples}
    assert all(loss_class(name).batch_dependent for name in unable)
    for name in unable:
        case = next(case for case in CASES if case.name == name)
        with pytest.raises(RequestError, match=f"training examples have weights, and {name} relates examples"):
            Objective([(1.0, case.make())]).check_weighs_examples()
    Objective([(1.0, get_loss("hard_label")), (1.0, get_loss("soft_target"))]).check_weighs_examples()


def test_outputs_with_weights_are_never_given_to_a_loss_that_ignores_them() -> None:
    objective = Objective([(1.0, get_loss("pkt", layer_map=[[1, 1]]))])
    with pytest.raises(RequestError, match="leave out the weights, or pkt"):
        objective(weighed(outputs(0), [1.0, 1.0, 1.0, 1.0]), outputs(1), {})


@weighs_examples
def test_i13_weights_of_one_change_nothing(case: Case) -> None:
    torch.testing.assert_close(of_rows(case, [0, 1, 2, 3], [1.0, 1.0, 1.0, 1.0]), of_rows(case, [0, 1, 2, 3]))


@weighs_examples
def test_i13_a_weight_of_two_is_the_example_twice(case: Case) -> None:
    torch.testing.assert_close(of_rows(case, [0, 1, 2, 3], [1.0, 2.0, 1.0, 1.0]), of_rows(case, [0, 1, 1, 2, 3]))


@weighs_examples
def test_i13_a_weight_of_zero_is_the_example_left_out(case: Case) -> None:
    torch.testing.assert_close(of_rows(case, [0, 1, 2, 3], [1.0, 1.0, 0.0, 1.0]), of_rows(case, [0, 1, 3]))


@weighs_examples
@pytest.mark.parametrize("cut", [1, 3])
def test_i13_weighted_micro_batches_equal_one_batch(case: Case, cut: int) -> None:
    """The weights of a micro-batch have another mean than 1: they are those of the whole training data."""
    if case.make().batch_dependent:
        return
    student, teacher = pair(case)
    student = weighed(student, [1.0, 3.0, 0.5, 2.0])
    parts = []
    for rows in (slice(0, cut), slice(cut, 4)):
        part = [mapped(out, lambda tensor, _, rows=rows: tensor[rows]) for out in (student, teacher)]
        part[0] = dataclasses.replace(part[0], weights=student.weights_of(rows))
        batch = {name: tensor[rows] for name, tensor in case.batch().items()}
        parts.append(value(case, *part, batch) * len(range(4)[rows]) / 4)
    torch.testing.assert_close(parts[0] + parts[1], value(case, student, teacher))


@weighs_examples
def test_a_batch_of_examples_that_do_not_count_trains_nothing(case: Case) -> None:
    student, leaves = with_gradient(outputs(0, case.classes))
    student = dataclasses.replace(student, weights=torch.zeros(4))
    value(case, student, outputs(1, case.classes)).backward()
    assert all(leaf.grad is None or not leaf.grad.any() for leaf in leaves)


@weighs_classes
def test_a_class_weighs_as_much_as_the_examples_that_have_its_label(case: Case) -> None:
    if not case.info().problem.exclusive_classes:
        with pytest.raises(RequestError, match="weigh rows by their one class"):
            get_loss(case.name, **case.settings, class_weights=[1.0] * case.classes).resolve(case.info(), case.info())
        return
    heavy = get_loss(case.name, **case.settings, class_weights=[1.0, 4.0, 2.0])
    student, teacher = pair(case)
    by_example = dataclasses.replace(student, weights=torch.tensor([1.0, 2.0, 4.0, 1.0]))  # the labels are 0, 2, 1, 0
    by_class = heavy(student, teacher, case.batch(), case.module(student))
    torch.testing.assert_close(by_class, value(case, by_example, teacher))
    assert heavy.reads_labels


@every_loss
def test_weight_zero_leaves_a_term_out(case: Case) -> None:
    """I12: nothing is asked for it and nothing computed."""
    objective = Objective([(0.0, case.make()), (1.0, get_loss("logit_mse"))])
    assert [term.loss.name for term in objective] == ["logit_mse"]
    assert objective.needs_student() == Needs(logits=True)


def _used(case: Case, name: str) -> bool:
    needs = case.make().needs_student()
    return {
        "logits": needs.logits,
        "hidden_states": bool(needs.hidden_states),
        "queries": bool(needs.attention),
        "keys": bool(needs.attention),
        "values": bool(needs.values),
        "input_gradients": needs.input_gradients,
    }[name]


def _restricted(out: Outputs, needs: Needs) -> Outputs:
    return Outputs(
        logits=out.logits if needs.logits else None,
        hidden_states={layer: out.hidden_states[layer] for layer in needs.hidden_states},
        queries={layer: out.queries[layer] for layer in needs.attention},
        keys={layer: out.keys[layer] for layer in needs.attention},
        values={layer: out.values[layer] for layer in needs.values},
        input_gradients=out.input_gradients if needs.input_gradients else None,
        attention_mask=out.attention_mask,
        words=out.words if needs.words else None,
    )

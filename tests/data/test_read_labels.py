import pytest
from datasets import ClassLabel, List, Value

from distilnlp.data.label_sets import as_zeros_and_ones
from distilnlp.data.read_labels import read_labels
from distilnlp.errors import RequestError

CLASSES, REGRESSION, MULTI = "single_label_classification", "regression", "multi_label_classification"
NAN = float("nan")


def numbers(labels):
    """Of several labels a 0 or 1 for each."""
    several = labels.problem.several_labels
    return (as_zeros_and_ones(labels.values, len(labels.names)) if several else labels.values).tolist()


@pytest.mark.parametrize(
    ("column", "problem_type", "names", "values"),
    [
        (["yes", "no", " yes "], CLASSES, ("no", "yes"), [1, 0, 1]),
        (["10", "9", "10"], CLASSES, ("9", "10"), [1, 0, 1]),  # whole numbers in a csv: by value, not by letters
        ([3, 1, 2], CLASSES, ("1", "2", "3"), [2, 0, 1]),
        ([-1, 1], CLASSES, ("-1", "1"), [0, 1]),
        ([1.0, 0.0], CLASSES, ("0", "1"), [1, 0]),
        ([True, False], CLASSES, ("False", "True"), [1, 0]),
        (["nan", "inf"], CLASSES, ("inf", "nan"), [1, 0]),
        (["1", "b"], CLASSES, ("1", "b"), [0, 1]),
        (["na", "yes", "1"], CLASSES, ("1", "na", "yes"), [1, 2, 0]),  # among names a name, Namibia's, say
        ([0.5, 1.0], REGRESSION, None, [0.5, 1.0]),
        (["3.75", "4"], REGRESSION, None, [3.75, 4.0]),
        ([["b", "a"], [], ["b"]], MULTI, ("a", "b"), [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]),
        ([[0, 1, 1], [1, 0, 0]], MULTI, ("0", "1", "2"), [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
        ([[3], [3, 27]], MULTI, ("3", "27"), [[1.0, 0.0], [1.0, 1.0]]),
        ([[0], [1], [0, 1]], MULTI, ("0", "1"), [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
        ([["0", "1"], ["1", "1"]], MULTI, ("0", "1"), [[0.0, 1.0], [1.0, 1.0]]),
        ([[True, False], [False, False]], MULTI, ("0", "1"), [[1.0, 0.0], [0.0, 0.0]]),
        (["+", "-", "+"], CLASSES, ("+", "-"), [0, 1, 0]),
        (["C++", "C", "C#"], CLASSES, ("C", "C#", "C++"), [2, 0, 1]),
        (["POSITIVE", "Positive"], CLASSES, ("POSITIVE", "Positive"), [0, 1]),
        # as a csv has them
        (["['joy', 'anger']", "[]", "['joy']"], MULTI, ("anger", "joy"), [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]),
        (['["joy", "anger"]', "['joy' 'anger']", "['joy']"], MULTI, ("anger", "joy"), [[1, 1], [1, 1], [0, 1]]),
        (["[1 0]", "[0 0]", "[1. 1.]"], MULTI, ("0", "1"), [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]),
        (["[URGENT]", "[low]"], CLASSES, ("[URGENT]", "[low]"), [0, 1]),
        (["0,05", "1", "2,5"], REGRESSION, None, [0.05, 1.0, 2.5]),
        (["1.234,5", "12"], REGRESSION, None, [1234.5, 12.0]),
        (["1,234.5", "12"], REGRESSION, None, [1234.5, 12.0]),
        (["1 234,5", "12"], REGRESSION, None, [1234.5, 12.0]),
        (["45 %", "3,5 %"], REGRESSION, None, [0.45, 0.035]),
        (["1", "1,5", "5"], REGRESSION, None, [1.0, 1.5, 5.0]),  # not the labels 1 and 5
    ],
)
def test_the_kind_is_told_by_the_values(column, problem_type, names, values):
    labels = read_labels(column, None, "data")
    assert (labels.problem.name, labels.names, numbers(labels)) == (problem_type, names, values)


def test_the_kind_can_be_said():
    assert read_labels(["1", "2"], None, "data", problem=REGRESSION).values.tolist() == [1.0, 2.0]
    assert read_labels(["1.5", "0.5"], None, "data", problem=CLASSES).names == ("0.5", "1.5")
    assert len(read_labels(list(range(60)), None, "data", problem=CLASSES).names) == 60


def test_declared_names_keep_their_order():
    labels = read_labels([1, 0], ClassLabel(names=["zebra", "ant", "unused"]), "data")
    assert labels.names == ("zebra", "ant", "unused")
    assert labels.values.tolist() == [1, 0]
    several = read_labels([[1], [0, 1]], List(ClassLabel(names=["zebra", "ant"])), "data")
    assert several.names == ("zebra", "ant")
    assert several.values.tolist() == [(1,), (0, 1)]


def test_the_features_are_those_of_the_contract():
    assert read_labels(["a", "b"], None, "data").feature == ClassLabel(names=["a", "b"])
    assert read_labels([0.5, 1], None, "data").feature == Value("float32")
    assert read_labels([["a"], ["b"]], None, "data").feature == List(ClassLabel(names=["a", "b"]))


def test_validation_is_read_as_training_was():
    """Only two of three classes, in another order and another type: the ids are still those of training."""
    train = read_labels(["1", "2", "3"], None, "train")
    assert read_labels([3, 2], None, "validation", train=train).values.tolist() == [2, 1]
    declared = read_labels([0, 1], ClassLabel(names=["3", "1"]), "validation", train=train)
    assert declared.values.tolist() == [2, 0]
    assert declared.names == ("1", "2", "3")
    targets = read_labels([0.5, 1.5], None, "train")
    assert read_labels(["1", "2"], None, "validation", train=targets).values.tolist() == [1.0, 2.0]
    commas = read_labels(["0,5", "2"], None, "train")
    assert read_labels(["1,234"], None, "validation", train=commas).values.tolist() == [1.234]
    hot = read_labels([[0, 1], [1, 0]], None, "train")
    assert read_labels([[1, 1]], None, "validation", train=hot).values.tolist() == [(0, 1)]


@pytest.mark.parametrize(
    ("column", "feature", "said"),
    [
        (["a", "", "b", None], None, "2 of 4 rows have no label, the first is row 2"),
        ([0.5, NAN], None, "1 of 2 rows have no label, the first is row 2"),
        ([0, -1, 1], ClassLabel(names=["a", "b"]), "1 of 3 rows have no label, the first is row 2"),
        (["a", 1], None, "labels are number and str"),
        (["a", "a"], None, r"one class only \('a'\)"),
        ([1, 1], ClassLabel(names=["a", "b"]), r"one class only \('b'\)"),
        ([["a"], ["a"]], None, "every row has the same labels"),
        ([["a"], [None]], None, "row 2 has"),
        (["1", "0", "nan", "1", "", "NaN"], None, r"3 of 6 rows have no label \('nan'\), the first is row 3"),
        (["0.5", "1.5", "N/A"], None, r"1 of 3 rows have no label \('N/A'\), the first is row 3"),
        (["0.5", "1.5", "many"], None, "row 3 has 'many' among numbers with a fraction"),
        (list(range(51)), None, "51 distinct whole numbers: say problem_type=regression"),
        ([f"text {row}" for row in range(51)], None, "51 distinct labels in 51 rows are hardly classes"),
        ([f"{row} 000" for row in range(1, 52)], None, "51 distinct whole numbers: say problem_type=regression"),
        (["0,5", "1,5", "many"], None, "row 3 has 'many' among numbers with a fraction"),
        (["2,5", "1.5"], None, "row 2 has '1.5' with a decimal point and row 1 has '2,5' with a decimal comma"),
        (["1,234", "5,678"], None, "row 1 has '1,234', which is 1234 or 1.234, and no other row tells which"),
        (["45 %", "0.3"], None, "row 1 has '45 %' and row 2 has '0.3': write all of them in percent, or none"),
        ([[0.9, 0.1], [0.2, 0.8]], None, "row 1 has .* shares of the classes are not learned from"),
        (["[1, 0]", "[0.2, 0.8]"], None, "row 2 has .* shares of the classes are not learned from"),
        ([[0, 1, 1], [1, 0, 0], [1, 0]], None, r"row 3 has \[1, 0\]: 3 zeros and ones are needed"),
        ([[0, 1], [1, 0], [1]], None, r"row 3 has \[1\]: 2 zeros and ones are needed"),
        ([[0, 1, 1], [0, 2, 0]], None, r"row 2 has \[0, 2, 0\]: 3 zeros and ones are needed"),
        ([[0, 1], [1, NAN]], None, r"row 2 has \[1, nan\]: 2 zeros and ones are needed"),
        ([[0, 1], [1, None]], None, "row 2 has"),
        (["['joy']", "joy", "joy"], None, "row 1 has the list .* and row 2 has 'joy': write a list in each row"),
        (["{'a': 0.9}", "{'b': 1}"], None, "row 1 has .* looks like a list or a mapping"),
        (["[0 1 ... 0]", "[1 1 ... 0]"], None, "row 1 has .* looks like a list or a mapping"),
        (["joy", "anger", "joy,anger"], None, "row 3 has 'joy,anger', which are 2 labels of other rows"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(column, feature, said):
    with pytest.raises(RequestError, match=said):
        read_labels(column, feature, "data")


@pytest.mark.parametrize(
    ("column", "problem_type", "said"),
    [
        (["1.5", "many"], REGRESSION, "row 2 has 'many' where regression"),
        (["1,5", "many"], REGRESSION, "row 2 has 'many' where regression"),
        (["['a']", "['b']"], CLASSES, "labels are lists"),
        ([1.0, float("inf")], REGRESSION, "row 2 has 'inf'"),
        ([2, 2], REGRESSION, "every target is 2.0"),
        ([["a"], ["b"]], CLASSES, "labels are lists"),
        (["a", "b"], MULTI, "needs a list of names"),
        (["a", "b"], "regresion", "did you mean 'regression'"),
    ],
)
def test_values_that_do_not_fit_what_was_said_are_refused(column, problem_type, said):
    with pytest.raises(RequestError, match=said):
        read_labels(column, None, "data", problem=problem_type)


def test_validation_may_spell_the_names_otherwise():
    train = read_labels(["very good", "bad"], None, "train")
    assert read_labels(["Bad", "VERY_GOOD"], None, "dev", train=train).values.tolist() == [0, 1]
    several = read_labels([["joy"], ["anger"]], None, "train")
    assert read_labels(["['Joy']"], None, "dev", train=several).values.tolist() == [(1,)]
    alike = read_labels(["a", "A"], None, "train")
    assert read_labels(["a", "A"], None, "dev", train=alike).values.tolist() == [1, 0]


def test_names_that_differ_in_case_alone_are_told(caplog):
    read_labels(["Positive", "POSITIVE"], None, "data")
    assert "'POSITIVE' and 'Positive' are two classes" in caplog.text


def test_what_is_said_to_be_names_may_look_like_numbers_and_lists():
    assert read_labels(["1,234", "5,678"], None, "data", problem=CLASSES).names == ("1,234", "5,678")
    assert read_labels(["[1]", "joy", "joy,[1]"], None, "data", problem=CLASSES).names == ("[1]", "joy", "joy,[1]")


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (["1", "-1"], ["+1"], "row 1 of dev"),
        (["0,5", "1,5"], ["0.5"], "row 1 has '0.5' .* with a decimal comma as in the training data"),
        (["0.5", "1.5"], ["0,5"], "row 1 has '0,5' .* with a decimal point as in the training data"),
        (["40 %", "1,5 %"], ["3"], "row 1 has '3' .* in percent as in the training data"),
        (["yes", "no"], ["no", "yess"], "row 2 of dev.*'yess': did you mean 'yes'"),
        ([0, 2], [1], "row 1 of dev.*'1'"),
        ([["a"], ["b"]], [["a", "c"]], "row 1 of dev.*'c'"),
        ([[0, 1], [1, 0]], [[0, 1, 1], [1, 0, 0]], "rows of 3 zeros and ones where the training data have 2 labels"),
        (["yes", "no"], [0.5], "'0.5'"),
        (["1", "2"], ["1", "null"], "1 of 2 rows have no label"),
    ],
)
def test_a_label_that_training_does_not_have_is_named(train, validation, said):
    labels = read_labels(train, None, "train")
    with pytest.raises(RequestError, match=said):
        read_labels(validation, None, "dev", train=labels)

import subprocess
import sys

import pytest

from distilnlp.data.glue_table import GLUE, PACKAGED, task_names


def test_glue_has_the_nine_tasks_with_their_official_label_order_and_metric():
    """Written out again by hand: a swapped label order would turn every published teacher upside down."""
    assert {name: (info.label_names, info.main_metric) for name, info in GLUE.items()} == {
        "cola": (("unacceptable", "acceptable"), "matthews_correlation"),
        "sst2": (("negative", "positive"), "accuracy"),
        "mrpc": (("not_equivalent", "equivalent"), "f1"),
        "qqp": (("not_duplicate", "duplicate"), "f1"),
        "stsb": (None, "pearson"),
        "mnli": (("entailment", "neutral", "contradiction"), "accuracy"),
        "qnli": (("entailment", "not_entailment"), "accuracy"),
        "rte": (("entailment", "not_entailment"), "accuracy"),
        "wnli": (("not_entailment", "entailment"), "accuracy"),
    }
    assert GLUE["mrpc"].metrics == GLUE["qqp"].metrics == ("accuracy", "f1")
    assert GLUE["stsb"].metrics == ("pearson", "spearmanr")
    assert GLUE["stsb"].problem.name == "regression"
    assert list(GLUE["mnli"].splits) == ["train", "validation_matched", "validation_mismatched"]


def test_names_are_listed_and_the_table_cannot_be_changed():
    assert task_names() == (*GLUE, "mnli-sample", "found-or-written")
    with pytest.raises(TypeError):
        GLUE["mrpc"] = GLUE["rte"]
    with pytest.raises(TypeError):
        PACKAGED["mrpc"] = GLUE["rte"]


def test_the_packaged_sample_has_the_columns_and_labels_of_mnli():
    sample, whole = PACKAGED["mnli-sample"], GLUE["mnli"]
    assert (sample.text_columns, sample.label_names) == (whole.text_columns, whole.label_names)


@pytest.mark.parametrize(
    "statement",
    [
        "import distilnlp.data.glue_table",
        # the function shares its module's name: importing the module in either order must not hide it
        "import distilnlp.data.tokenize; from distilnlp.data import tokenize; assert tokenize.__name__ == 'tokenize'",
    ],
)
def test_listing_tasks_loads_nothing_heavy(statement):
    code = f"import sys\n{statement}\nprint([m for m in ('torch', 'datasets', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_imported():
    import distilnlp.data as data

    for name in data.__all__:
        assert data.__dict__.get(name) or data.__getattr__(name)
    with pytest.raises(AttributeError, match="nothing"):
        data.__getattr__("nothing")

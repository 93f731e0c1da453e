"""A run goes on with the data and the models that it was begun with, and with no others."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value, concatenate_datasets

from distilnlp.data import load_task
from distilnlp.data.arrow import write_dataset
from distilnlp.errors import RequestError
from distilnlp.recipe import make_recipe
from distilnlp.run.inputs import Inputs, data_digest, model_digest
from distilnlp.run.plan import make_plan

ROWS = {"text": ["good", "", "very bad", "näh"], "text_pair": ["a", None, "c", "d"], "label": [0, 1, 1, 0]}


def changed(**columns: list[Any]) -> Dataset:
    return Dataset.from_dict({**ROWS, **columns})


def test_the_digest_is_of_the_rows_wherever_they_lie():
    rows = Dataset.from_dict(ROWS)
    same = [
        Dataset.from_dict(dict(reversed(ROWS.items()))),
        rows.add_column("idx", [3, 2, 1, 0]),
        concatenate_datasets([rows.select([0]), rows.select([1, 2, 3])]),
        Dataset.from_dict({name: values[::-1] for name, values in ROWS.items()}).select([3, 2, 1, 0]),
        concatenate_datasets([rows, rows]).select(range(4)),
        write_dataset(pa.table({name: values[i : i + 1] for name, values in ROWS.items()}) for i in range(4)),
        Dataset(
            pa.table(ROWS).cast(
                pa.schema([("text", pa.large_string()), ("text_pair", pa.string()), ("label", pa.int32())])
            )
        ),
        rows.cast_column("label", ClassLabel(names=["x", "y"])),
    ]
    assert {data_digest(each) for each in same} == {data_digest(rows)}


@pytest.mark.parametrize(
    "other",
    [
        changed(label=[0, 1, 1, 1]),
        changed(label=[0.0, 1.0, 1.0, 0.5]),
        changed(text=["good", "", "very bad", "nah"]),
        changed(text=["goodv", "", "ery bad", "näh"]),  # the same characters, cut elsewhere
        changed(text_pair=["a", "", "c", "d"]),  # a text that is empty is none that is missing
        changed(text_pair=[None, "a", "c", "d"]),
        Dataset.from_dict(ROWS).select([1, 0, 2, 3]),
        Dataset.from_dict(ROWS).select([0, 1, 2]),
        concatenate_datasets([Dataset.from_dict(ROWS), Dataset.from_dict(ROWS).select([3])]),
        Dataset.from_dict(ROWS).remove_columns("text_pair"),
    ],
)
def test_another_text_label_or_order_is_another_digest(other: Dataset):
    assert data_digest(other) != data_digest(Dataset.from_dict(ROWS))


def test_several_labels_a_text_are_told_apart():
    def hot(*labels: list[float]) -> Dataset:
        features = Features({"text": Value("string"), "label": List(Value("float32"))})
        return Dataset.from_dict({"text": ["a", "b"], "label": [*labels]}, features=features)

    assert data_digest(hot([1, 0], [0, 1])) != data_digest(hot([0, 1], [1, 0]))
    assert data_digest(hot([1, 0], [0])) != data_digest(hot([1], [0, 0]))
    both = concatenate_datasets([hot([1, 1], [0, 0]), hot([1, 0], [0, 1])])
    assert data_digest(both.select([2, 3])) == data_digest(hot([1, 0], [0, 1]))


class Kept:
    """The inputs of a run of two stages, which are kept and then looked at again."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder = folder
        self.csv = folder / "films.csv"
        self.model = folder / "start"
        shutil.copy(values["data"]["task"], self.csv)
        shutil.copytree(values["stages"]["teacher"]["model"], self.model)
        self.values = {**values, "data": {**values["data"], "task": str(self.csv)}}
        self.values["stages"]["teacher"]["model"] = str(self.model)
        self.inputs().keep()

    def inputs(self) -> Inputs:
        plan = make_plan(make_recipe(self.values, name="films"))
        task = load_task(self.csv)
        return Inputs(self.folder, plan, dict.fromkeys(plan.stages, task))


@pytest.fixture
def kept(tmp_path: Path, values: dict[str, Any]) -> Kept:
    return Kept(tmp_path, values)


def test_what_is_the_same_is_gone_on_with(kept: Kept):
    kept.csv.touch()
    (kept.model / "README.md").write_text("a card")
    kept.inputs().check(["teacher", "control", "student"])


def flip(kept: Kept) -> None:
    swapped = kept.csv.read_text().replace(",good", ",GOOD").replace(",bad", ",good").replace(",GOOD", ",bad")
    kept.csv.write_text(swapped)


def add_rows(kept: Kept) -> None:
    kept.csv.write_text(
        kept.csv.read_text() + "".join(f"another film {i},{('good', 'bad')[i % 2]}\n" for i in range(30))
    )


def other_weights(kept: Kept) -> None:
    path = kept.model / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def other_config(kept: Kept) -> None:
    path = kept.model / "config.json"
    path.write_text(path.read_text().replace("gelu", "relu"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (flip, r"the data changed: train is now \d+ rows of the digest \w+ and was \d+ rows of the digest \w+"),
        (add_rows, r"the data changed: train is now \d+ rows of the digest \w+ and was \d+ rows"),
        (other_weights, r"start changed: its model\.safetensors is now \w+ and was \w+"),
        (other_config, r"start changed: its config\.json is now"),
        (lambda kept: (kept.model / "tokenizer_config.json").unlink(), r"tokenizer_config\.json is now not there"),
    ],
)
def test_what_changed_is_named_with_the_way_out(kept: Kept, change: Callable[[Kept], object], said: str):
    change(kept)
    with pytest.raises(RequestError, match=rf"{said}.* when stage 'teacher' was begun: .*--output.*--fresh"):
        kept.inputs().check(["teacher"])
    kept.inputs().check([])  # of a stage that was not begun nothing is there that it could contradict


@pytest.mark.parametrize("content", ["", "[]", '{"version": 0}', "{"])
def test_a_damaged_file_of_digests_is_named(kept: Kept, content: str):
    (kept.folder / "inputs.json").write_text(content)
    with pytest.raises(RequestError, match=r"inputs\.json is damaged.*--fresh"):
        kept.inputs().check(["teacher"])


def test_without_the_digests_nobody_can_tell(kept: Kept):
    (kept.folder / "inputs.json").unlink()
    with pytest.raises(RequestError, match=r"there is no .*inputs\.json.*--fresh"):
        kept.inputs().check(["teacher"])


def test_the_digest_of_a_model_says_nothing_of_where_it_is(kept: Kept, tmp_path: Path):
    assert model_digest(str(shutil.copytree(kept.model, tmp_path / "elsewhere"))) == model_digest(str(kept.model))
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= model_digest(str(kept.model)).keys()

import hashlib
import json
import logging
import shutil
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, List, Value

from distilnlp.data import GLUE, embedded, load, load_task
from distilnlp.data.columns import Columns
from distilnlp.data.glue_table import PACKAGED
from distilnlp.errors import RequestError, RunError


def own(tmp_path, rows=100, name="mine.csv"):
    lines = [f'"text {row}, with a comma",{["no", "yes"][row % 2]}' for row in range(rows)]
    path = tmp_path / name
    path.write_text("\n".join(["sentence,label", *lines]) + "\n")
    return path


def refused(*args, **kwargs):
    with pytest.raises(RequestError) as caught:
        load_task(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the packaged sample ---


def test_the_packaged_sample():
    task = load_task("mnli-sample")
    assert (len(task.train), len(task.validation)) == (3000, 1000)
    assert task.train.column_names == task.validation.column_names == ["text", "text_pair", "label"]
    assert task.train.features["label"] == ClassLabel(names=["entailment", "neutral", "contradiction"])
    assert max(Counter(task.train["label"]).values()) == 1000
    assert task.label_names == GLUE["mnli"].label_names
    assert task.main_metric == "accuracy"
    assert not set(zip(task.train["text"], task.train["text_pair"], strict=True)) & set(
        zip(task.validation["text"], task.validation["text_pair"], strict=True)
    )
    assert "not comparable" in task.source


def test_the_packaged_sentences():
    task = load_task("found-or-written")
    premises, hypotheses = set(), set()
    pairs = load_task("mnli-sample")
    for side in (pairs.train, pairs.validation):
        premises |= set(side["text"])
        hypotheses |= set(side["text_pair"])
    for side, counts in ((task.train, {0: 1500, 1: 1499}), (task.validation, {0: 500, 1: 499})):
        assert side.column_names == ["text", "label"]
        assert side.features["label"] == ClassLabel(names=["found", "written"])
        assert Counter(side["label"]) == counts
        assert all(
            text in (premises, hypotheses)[label] for text, label in zip(side["text"], side["label"], strict=True)
        )
    texts = [text.strip() for side in (task.train, task.validation) for text in side["text"]]
    assert len(set(texts)) == len(texts)  # none twice, so none on both sides
    assert "not comparable" in task.source and task.dataset_id is None


@pytest.mark.parametrize("name", PACKAGED)
def test_the_table_of_tasks_tells_what_the_packaged_ones_have(name):
    task = load_task(name)
    assert dict(PACKAGED[name].splits) == {"train": len(task.train), "validation": len(task.validation)}
    assert (task.name, task.label_names) == (name, PACKAGED[name].label_names)


def test_the_samples_readme_states_the_sums_that_are_checked():
    readme = (embedded.FOLDER / "README.md").read_text()
    for split, sum_ in embedded.SHA256.items():
        data = (embedded.FOLDER / f"{split}.parquet").read_bytes()
        assert hashlib.sha256(data).hexdigest() == sum_
        assert sum_ in readme
    assert sum((embedded.FOLDER / f"{split}.parquet").stat().st_size for split in embedded.SHA256) < 700_000


@pytest.mark.parametrize("name", PACKAGED)
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_sample_is_not_used(tmp_path, monkeypatch, damage, name):
    folder = shutil.copytree(embedded.FOLDER, tmp_path / "sample")
    if damage == "changed":
        (folder / "train.parquet").write_bytes((folder / "train.parquet").read_bytes()[:-1] + b"x")
    else:
        (folder / "train.parquet").unlink()
    monkeypatch.setattr(embedded, "FOLDER", folder)
    with pytest.raises(RunError, match="install distilnlp again"):
        load_task(name)


# --- GLUE ---


def write_glue(folder, task, splits, **changes):
    (folder / task).mkdir(parents=True)
    info = GLUE[task]
    for split in splits:
        label = [0.0, 2.5, 5.0, 1.0] if info.label_names is None else [0, 1, 1, 0]
        columns = {name: [f"{split} {name} {row}" for row in range(4)] for name in info.text_columns}
        table = pa.table({**columns, "label": label, "idx": [0, 1, 2, 3], **changes})
        pq.write_table(table, folder / task / f"{split}.parquet")
    return folder


@pytest.mark.parametrize("task", GLUE)
def test_every_glue_task_from_a_folder(tmp_path, task, monkeypatch):
    info = GLUE[task]
    monkeypatch.setenv("DISTILNLP_DATA_DIR", str(write_glue(tmp_path, task, info.splits)))
    loaded = load_task(task.upper())
    assert loaded.train.column_names == [*["text", "text_pair"][: len(info.text_columns)], "label"]
    assert loaded.train[0]["text"] == f"train {info.text_columns[0]} 0"
    assert (loaded.label_names, loaded.metrics, loaded.main_metric) == (
        info.label_names,
        info.metrics,
        info.main_metric,
    )
    expected = ClassLabel(names=list(info.label_names)) if info.label_names else Value("float32")
    assert loaded.validation.features["label"] == expected
    assert list(loaded.extra) == (["mismatched"] if task == "mnli" else [])
    if task == "mnli":
        assert loaded.validation[0]["text"].startswith("validation_matched")
        assert loaded.extra["mismatched"][0]["text"].startswith("validation_mismatched")


def test_data_that_are_not_glues_own_say_so_in_log_and_source(tmp_path, caplog):
    write_glue(tmp_path, "qqp", ["train", "validation_substitute"])
    with caplog.at_level(logging.WARNING, logger="distilnlp"):
        task = load_task("qqp", data_dir=tmp_path)
    assert "validation is a substitute" in caplog.text
    assert "not comparable" in caplog.text
    assert "substitute" in task.source
    assert "train has 4 of GLUE's 363846 rows" in task.source
    assert task.dataset_id is None  # no score on it may be published as GLUE's


def test_only_qqp_has_a_substitute(tmp_path):
    write_glue(tmp_path, "rte", ["train", "validation_substitute"])
    assert "no file for the split 'validation'" in refused("rte", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"label": [0, 1, 2, 1]}, "label 2 is none of 0 to 1"), ({"label": [0, 1, -1, 1]}, "label -1 is none of")],
)
def test_labels_outside_the_table_are_refused(tmp_path, changes, said):
    assert said in refused("mrpc", data_dir=write_glue(tmp_path, "mrpc", ["train", "validation"], **changes))


def test_other_columns_or_another_label_order_are_refused(tmp_path):
    write_glue(tmp_path, "rte", ["train"])
    (tmp_path / "rte").rename(tmp_path / "qnli")
    assert "no column 'question': qnli has question, sentence, label" in refused("qnli", data_dir=tmp_path)
    swapped = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "label": [0]}).cast_column(
        "label", ClassLabel(names=["not_entailment", "entailment"])
    )
    (tmp_path / "rte").mkdir()
    pq.write_table(swapped.with_format("arrow")[:], tmp_path / "rte" / "train.parquet")
    assert "rte has ['entailment', 'not_entailment']" in refused("rte", data_dir=tmp_path)


def test_a_missing_folder_is_not_replaced_by_the_hub(tmp_path):
    assert "no folder 'sst2' in this data directory" in refused("SST-2", data_dir=tmp_path)


def test_offline_says_what_to_do():
    message = refused("mrpc")
    assert "HF_HUB_OFFLINE" in message
    assert "data_dir" in message
    assert "DISTILNLP_DATA_DIR" in message


def test_the_hubs_splits_are_read_by_their_official_names(monkeypatch):
    asked = []

    def load_dataset(repository, config):
        asked.append((repository, config))
        rows = {"hypothesis": ["c", "d"], "label": [0, 2], "idx": [0, 1]}
        names = ["train", "validation_matched", "validation_mismatched", "test_matched"]
        features = ClassLabel(names=["entailment", "neutral", "contradiction"])
        splits = {name: Dataset.from_dict({**rows, "premise": [f"{name} a", f"{name} b"]}) for name in names}
        return DatasetDict({name: split.cast_column("label", features) for name, split in splits.items()})

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    task = load_task("mnli")
    assert asked == [("nyu-mll/glue", "mnli")]
    assert (task.source, task.dataset_id) == ("nyu-mll/glue",) * 2
    assert task.train[1] == {"text": "train b", "text_pair": "d", "label": 2}
    assert list(task.extra) == ["mismatched"]


def test_the_folder_of_glue_is_not_ignored_for_own_data(tmp_path):
    assert "data_dir= is for GLUE tasks" in refused(own(tmp_path), data_dir=tmp_path)


@pytest.mark.parametrize("option", ["text", "text_pair", "label", "validation", "problem_type"])
def test_options_for_own_data_are_not_ignored(option):
    assert f"{option}= is for your own data" in refused("mnli-sample", **{option: "x"})


def test_real_glue(glue_dir):
    """The published numbers of rows and of positives, with the real files."""
    mrpc = load_task("mrpc", data_dir=glue_dir)
    assert (len(mrpc.train), len(mrpc.validation)) == (3668, 408)
    assert sum(mrpc.validation["label"]) == 279
    assert mrpc.source == "nyu-mll/glue"
    stsb = load_task("stsb", data_dir=glue_dir)
    assert stsb.problem.name == "regression"
    assert max(stsb.train["label"]) == 5.0


# --- own data ---


def test_a_csv_with_names_as_labels_and_commas_in_the_text(tmp_path):
    task = load_task(own(tmp_path))
    assert (task.name, task.source, task.dataset_id) == ("mine", "mine.csv", None)
    assert task.label_names == ("no", "yes")
    assert task.train.column_names == ["text", "label"]
    assert (len(task.train), len(task.validation)) == (80, 20)
    assert task.train[0] == {"text": "text 0, with a comma", "label": 0}
    assert Counter(task.validation["label"]) == {0: 10, 1: 10}


def test_the_held_out_split_follows_the_seed(tmp_path):
    path = str(own(tmp_path))
    first, again, other = (load_task(path, seed=seed).validation["text"][:] for seed in (1, 1, 2))
    assert first == again != other


def test_a_validation_file_in_another_format(tmp_path):
    other = tmp_path / "dev.jsonl"
    other.write_text('{"sentence": "a", "label": "yes", "note": 1}\n')
    task = load_task(own(tmp_path), validation=other)
    assert len(task.train) == 100
    assert task.validation[:] == {"text": ["a"], "label": [1]}


def test_a_folder_with_both_files(tmp_path):
    own(tmp_path, name="train.csv")
    own(tmp_path, rows=6, name="dev.csv")
    task = load_task(str(tmp_path))
    assert (task.name, len(task.train), len(task.validation)) == (tmp_path.name, 100, 6)


def test_regression_pairs_and_several_labels(tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("sentence1\tsentence2\tscore\n" + "".join(f"a{i}\tb{i}\t{i / 4}\n" for i in range(20)))
    task = load_task(pairs)
    assert task.train.features["label"] == Value("float32")
    assert "text_pair" in task.train.column_names
    assert (task.problem.name, task.label_names, task.main_metric) == ("regression", None, "pearson")
    several = tmp_path / "several.jsonl"
    lines = [json.dumps({"text": f"text {row}", "labels": ["x"] * (row % 2)}) for row in range(20)]
    several.write_text("\n".join(lines))
    task = load_task(several)
    assert task.train.features["label"] == List(ClassLabel(names=["x"]))
    assert task.label_names == ("x",)
    assert task.problem.name == "multi_label_classification"


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("sentence,label\na,x\nb,y\n", {"text": "sentense"}, "did you mean 'sentence'"),
        ("text,label\na,x\n ,y\nc,y\n", {}, "1 of 3 rows have no text in column 'text', the first is row 2"),
        ("text,label\na,x\nb,\nc,y\n", {}, "1 of 3 rows have no label, the first is row 2"),
        ("text,label\na,x\nb,x\n", {}, "one class only"),
        ("text,label\na,x\nb,y\n", {}, "2 rows are too few to hold some out"),
        ("text,label\na,x\nb,y\n", {"problem_type": "classes"}, "unknown problem_type"),
        ("text,label\na,x\nb,y\n", {"validation": "mine.cvs"}, "no such file"),
    ],
)
def test_data_that_cannot_be_used_are_told_in_one_line(tmp_path, content, options, said):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    assert said in refused(path, **options)


def test_a_new_label_in_the_validation_file_is_named(tmp_path):
    other = tmp_path / "dev.csv"
    other.write_text("sentence,label\na,yes\nb,maybe\n")
    message = refused(own(tmp_path), validation=other)
    assert "row 2 of" in message
    assert "'maybe'" in message
    assert "no, yes" in message


def test_a_column_of_zeros_and_ones_for_each_label(tmp_path):
    rows = [f"text {row},{row % 2},{'true' if row % 3 else 'False'}\n" for row in range(60)]
    (tmp_path / "data.csv").write_text("text,joy,fear\n" + "".join(rows))
    task = load_task(tmp_path / "data.csv", label="fear,joy")
    assert task.problem.several_labels
    assert task.label_names == ("fear", "joy")
    assert task.columns == Columns("text", None, ("fear", "joy"))
    found = {int(row["text"].split()[1]): row["label"] for row in task.train}
    assert found and all(label == [0] * (row % 3 > 0) + [1] * (row % 2) for row, label in found.items())
    given = load_task(tmp_path / "data.csv", validation=tmp_path / "data.csv", label=["joy", "fear"])
    assert given.validation["label"][:2] == [[], [0, 1]]


@pytest.mark.parametrize("value", ["2", "maybe", "", "0.5"])
def test_where_each_label_has_a_column_anything_but_0_and_1_is_named(tmp_path, value):
    (tmp_path / "data.csv").write_text(f"text,joy,fear\na,0,1\nb,1,{value}\n")
    with pytest.raises(RequestError, match=r"column 'fear': row 2 has .* 0 or 1 is needed"):
        load_task(tmp_path / "data.csv", label="joy,fear")


def test_equal_texts_are_on_one_side_and_it_is_said(tmp_path, caplog):
    rows = [f"{' ' * (copy % 2)}text {row},{'ab'[row % 2]}\n" for copy in range(4) for row in range(30)]
    rows[0] = rows[0].replace(",a", ",b")
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(rows))
    task = load_task(tmp_path / "data.csv")
    sides = [{text.strip() for text in side["text"]} for side in (task.train, task.validation)]
    assert not sides[0] & sides[1]
    said = "30 texts stand in 120 of the 120 rows; 1 of them with labels that contradict each other"
    assert said in task.source and said in caplog.text
    small = load_task(tmp_path / "data.csv", max_train=40, max_validation=10)
    assert not {text.strip() for text in small.train["text"]} & {text.strip() for text in small.validation["text"]}


def test_too_few_different_texts_are_on_both_sides_and_it_is_said(tmp_path, caplog):
    (tmp_path / "data.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 30)
    task = load_task(tmp_path / "data.csv")
    assert (len(task.train), Counter(task.validation["label"])) == (48, {0: 6, 1: 6})
    (record,) = caplog.records
    assert "12 of the 12 held-out texts are trained on too" in record.getMessage()
    assert "mean little" in record.getMessage() and "mean little" in task.source
    assert "all held out or all trained on" not in record.getMessage()


def test_an_overlap_of_the_given_files_is_told(tmp_path, caplog):
    for name, rows in (("train", range(60)), ("dev", range(55, 65))):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(f"text {row},{row % 2}\n" for row in rows))
    task = load_task(tmp_path / "train.csv", validation=tmp_path / "dev.csv")
    assert task.source == "train.csv (5 of the 10 held-out texts are trained on too)"
    assert "5 of the 10 held-out texts are trained on too" in caplog.text


def test_the_columns_that_a_model_was_trained_on_are_found_again(tmp_path):
    rows = "".join(f"question {row},answer {row},{'ab'[row % 2]},{row % 2}\n" for row in range(60))
    (tmp_path / "faq.csv").write_text(f"question,answer,queue,label\n{rows}")
    trained = Columns("question", None, "queue")
    task = load_task(tmp_path / "faq.csv", trained=trained)
    assert task.columns == trained and task.label_names == ("a", "b")
    assert load_task(tmp_path / "faq.csv", trained=trained, text="answer", label="label").columns == Columns(
        "answer", None, "label"
    )
    with pytest.raises(
        RequestError, match="no column 'body', which the model was trained on: name the text with --te"
    ):
        load_task(tmp_path / "faq.csv", trained=Columns("body", None, "queue"))
    with pytest.raises(
        RequestError, match="no column 'kind', which the model was trained on: name the label with --l"
    ):
        load_task(tmp_path / "faq.csv", trained=Columns("question", None, "kind"))


def test_empty_objects_are_rows_without_a_label(tmp_path):
    rows = ['{"text": "a", "label": 0}', '{"text": "b", "label": 1}'] * 500 + ["{}"] * 1000
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    with pytest.raises(RequestError, match="1000 of 2000 rows have no label, the first is row 1001"):
        load_task(tmp_path / "data.jsonl")


def test_a_column_of_numbers_is_no_text(tmp_path):
    pq.write_table(pa.table({"text": [1, 2], "label": [0, 1]}), tmp_path / "a.parquet")
    assert "holds Value('int64'), not texts" in refused(tmp_path / "a.parquet")


def test_a_path_into_a_folder_that_is_here_is_no_hub_id(tmp_path, monkeypatch):
    (tmp_path / "sets").mkdir()
    monkeypatch.chdir(tmp_path)
    assert refused("sets/nothing") == "sets/nothing: no such file or folder"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mprc", "unknown task 'mprc': did you mean 'mrpc'?"),
        ("nothing.csv", "nothing.csv: no such file"),
        ("notes.txt", "notes.txt: no such file"),
        ("./nothing", "./nothing: no such file or folder"),
        ("org/name", "Hub data set 'org/name' is not in the cache and HF_HUB_OFFLINE is set"),
    ],
)
def test_a_name_that_is_nothing(name, said):
    assert said in refused(name)


def test_a_misspelt_file_is_named(tmp_path):
    own(tmp_path)
    assert "did you mean 'mine.csv'?" in refused(tmp_path / "mien.csv")


def hub(monkeypatch, splits):
    features = ClassLabel(names=["neg", "pos"])
    sets = {
        split: Dataset.from_dict({"text": [f"{split} {i}" for i in range(40)], "label": [0, 1] * 20}).cast_column(
            "label", features
        )
        for split in splits
    }
    monkeypatch.setattr("datasets.load_dataset", lambda repository, config: DatasetDict(sets))


def test_a_hub_data_set_without_a_validation_split(monkeypatch):
    hub(monkeypatch, ["train", "test"])
    task = load_task("org/reviews:plain")
    assert (task.name, task.source, task.dataset_id) == ("reviews", "org/reviews:plain", "org/reviews")
    assert (len(task.train), len(task.validation), task.label_names) == (32, 8, ("neg", "pos"))
    assert len(load_task("org/reviews", validation="test").train) == 40
    assert "unknown split" in refused("org/reviews", validation="tset")


def test_a_hub_data_set_without_a_train_split(monkeypatch):
    hub(monkeypatch, ["test"])
    assert "no split 'train'" in refused("org/reviews")


@pytest.mark.parametrize(
    ("error", "offline", "expected"),
    [
        (ConnectionError("down"), False, RunError),
        (ConnectionError("off"), True, RequestError),
        (FileNotFoundError("Dataset 'org/x'\ndoesn't exist"), False, RequestError),
        (ValueError("BuilderConfig 'y' not found"), False, RequestError),
    ],
)
def test_what_the_hub_says_comes_in_one_line(monkeypatch, error, offline, expected):
    def fail(*args):
        raise error

    monkeypatch.setattr("datasets.load_dataset", fail)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: offline)
    with pytest.raises(expected) as caught:
        load_task("org/x:y")
    assert "\n" not in str(caught.value)
    assert "'org/x' (y)" in str(caught.value)


# --- subsets ---


def test_subsets_keep_the_shares_and_follow_the_seed():
    task = load_task("mnli-sample", max_train=300, max_validation=30)
    assert Counter(task.train["label"]) == {0: 100, 1: 100, 2: 100}
    assert len(task.validation) == 30
    again, other = (load_task("mnli-sample", max_train=300, seed=seed).train["text"][:] for seed in (0, 1))
    assert task.train["text"][:] == again != other


def test_subsets_cut_every_evaluation_set(tmp_path):
    write_glue(tmp_path, "mnli", GLUE["mnli"].splits)
    assert len(load_task("mnli", data_dir=tmp_path, max_validation=2).extra["mismatched"]) == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"max_train": 0}, "max_train is 0"),
        ({"max_validation": -1}, "max_validation is -1"),
        ({"max_train": 1}, "one label"),
    ],
)
def test_subsets_that_teach_nothing_are_refused(option, said):
    assert said in refused("mnli-sample", **option)


def test_task_is_a_value():
    with pytest.raises(AttributeError):
        load_task("mnli-sample").name = "other"
    assert load.Task.__dataclass_params__.frozen


def test_objects_in_place_of_texts_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": {"a": 1}, "label": "x"}\n{"text": {"a": 2}, "label": "y"}\n')
    with pytest.raises(RequestError, match=r"column 'text' holds .*not texts"):
        load_task(path)

"""The model card: its metadata as the Hub reads it, its code as a reader runs it, and what must not be in it."""

import copy
import re

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import ValidationError

from distilnlp.errors import RequestError
from distilnlp.report.card import render_card
from distilnlp.report.card_data import eval_results_file
from distilnlp.report.schema import Report
from distilnlp.students import Vocabulary, build_student
from tests.report.test_compare import ROWS
from tests.tiny import tiny_model, tiny_tokenizer

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
METRICS = {"accuracy": 0.84, "f1": 0.88, "loss": 0.5}

REPORT = {
    "task": "mrpc",
    "main_metric": "f1",
    "problem_type": "single_label_classification",
    "label_names": ["not_equivalent", "equivalent"],
    "text_columns": ["sentence1", "sentence2"],
    "dataset_id": "nyu-mll/glue",
    "source": "nyu-mll/glue",
    "eval_split": "validation",
    "teacher": MINILM,
    "versions": {"transformers": "5.23.0", "torch": "2.13.0"},
    "sources": {
        "soft_target": "Hinton et al. 2015, arXiv:1503.02531, section 2.",
        "hidden_state": "Romero et al. 2015, arXiv:1412.6550.",
    },
    "stages": [{**row.model_dump(), "metrics": METRICS, "seconds": 41.6} for row in ROWS],
    "recipe": {
        "name": "mrpc",
        "data": {"task": "mrpc", "max_length": 48, "data_dir": "/home/somebody/glue"},
        "stages": {
            "teacher": {"model": MINILM, "training": {"hub_token": "hf_" + "a" * 34}},
            "control": {"student": {"from": "teacher", "layers": 3}},
            "student": {
                "student": {"from": "teacher", "layers": 3, "layer_map": "uniform"},
                "teacher": "teacher",
                "objective": {"hard_label": {"weight": 0.5}, "soft_target": {"weight": 0.5, "temperature": 2.0}},
            },
        },
    },
}


def card(values=REPORT, **where):
    return render_card(Report.model_validate(values), **where)


def changed(**keys):
    return {**copy.deepcopy(REPORT), **keys}


def without(*keys):
    return {key: value for key, value in REPORT.items() if key not in keys}


def test_the_hub_reads_the_metadata():
    data = ModelCard(card(REPORT, stage="student", repo_id="somebody/mrpc-small")).data
    assert data.base_model == [MINILM]
    assert data.datasets == ["nyu-mll/glue"]
    assert data.metrics == ["accuracy", "f1"]
    assert data.tags == ["distilnlp", "knowledge-distillation", "text-classification"]
    assert (data.library_name, data.pipeline_tag, data.language) == ("transformers", "text-classification", ["en"])
    assert data.license is None
    assert data.base_model_relation == "finetune"


def test_an_int8_file_is_a_quantized_model_and_one_of_nothing_known_has_no_relation():
    rows = copy.deepcopy(REPORT["stages"])
    exported = {"file": "onnx/model.onnx", "of": "student", "opset": 18, "difference": 0.1, "compared": 8}
    rows[-1]["exported"] = {**exported, "how": "dynamic", "processor": "avx2"}
    stage = rows[-1]["stage"]
    assert ModelCard(card(changed(stages=rows), stage=stage)).data.base_model_relation == "quantized"
    rows[-1]["exported"] = exported
    assert ModelCard(card(changed(stages=rows), stage=stage)).data.base_model_relation == "finetune"
    local = changed(teacher="/home/somebody/model")
    local["recipe"]["stages"]["teacher"]["model"] = "/home/somebody/model"
    assert "base_model_relation" not in ModelCard(card(local, stage="student")).data.to_dict()


def test_the_hub_gets_the_score_of_a_whole_split_in_its_own_form():
    entries = yaml.safe_load(eval_results_file(Report.model_validate(REPORT), "student"))
    (entry,) = parse_eval_result_entries(entries)
    assert (entry.dataset_id, entry.task_id) == ("nyu-mll/glue", "mrpc")
    assert entry.value == Report.model_validate(REPORT).stage("student").score
    assert entry.notes == "f1 on the split validation, measured by distilnlp"


@pytest.mark.parametrize("changes", [{"eval_split": None}, {"dataset_id": None}, {"task": None}])
def test_a_score_of_anything_else_is_no_result_of_a_benchmark(changes):
    assert eval_results_file(Report.model_validate(changed(**changes)), "student") is None


def test_the_hub_reads_the_scores():
    data = ModelCard(card(REPORT, stage="student", repo_id="somebody/mrpc-small")).data
    assert data.model_name == "mrpc-small"
    assert {(r.metric_type, r.metric_value) for r in data.eval_results} == {("accuracy", 0.84), ("f1", 0.88)}
    result = data.eval_results[0]
    assert (result.task_type, result.dataset_type) == ("text-classification", "nyu-mll/glue")
    assert (result.dataset_config, result.dataset_split) == ("mrpc", "validation")


def test_metric_names_are_those_of_the_hub():
    stages = [{**ROWS[0].model_dump(), "metrics": {"pearson": 0.8, "spearmanr": 0.7, "mse": float("nan")}}]
    data = ModelCard(card(changed(stages=stages), stage="teacher")).data
    assert {(r.metric_type, r.metric_name) for r in data.eval_results} == {
        ("pearsonr", "pearson"),
        ("spearmanr", "spearmanr"),
    }


def test_the_mismatched_set_is_a_result_of_its_own():
    stages = [{**ROWS[2].model_dump(), "metrics": {"accuracy": 0.7}, "extra": {"mismatched": {"accuracy": 0.71}}}]
    content = card(changed(task="mnli", stages=stages), stage="student")
    results = ModelCard(content).data.eval_results
    assert {(r.dataset_config, r.metric_value) for r in results} == {("mnli", 0.7), ("mnli_mismatched", 0.71)}
    assert "On the mismatched set: accuracy 0.7100." in content


@pytest.mark.parametrize("stage", ["teacher", "control", "student"])
def test_every_stage_has_a_card_of_its_own(stage):
    content = card(REPORT, stage=stage)
    assert f"# mrpc-{stage}\n" in content
    assert ("knowledge-distillation" in ModelCard(content).data.tags) == (stage == "student")
    assert ("taught the students" in content) == (stage == "teacher")
    assert ("labels only" in content) == (stage == "control")


def test_the_table_and_the_lineage_are_there():
    content = card(REPORT, stage="student")
    assert "| student | 0.880 | 17.4M |" in content
    assert "keeps 97.8 % of the teacher's f1" in content
    assert f"- Start weights: [{MINILM}](https://huggingface.co/{MINILM})" in content
    trained = f"[{MINILM}](https://huggingface.co/{MINILM}) (as trained in stage `teacher`)"
    assert f"- Made from: {trained}, layers `3`, layer_map `uniform`" in content
    assert f"- Teacher: {trained}\n" in content
    assert "- Objective: `hard_label` (weight 0.5), `soft_target` (weight 0.5, temperature 2.0)" in content
    assert "- Training time: 42 s" in content
    assert "- transformers 5.23.0" in content


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        ({"model": "/home/somebody/runs/films-base"}, "`films-base` (as trained in stage `assistant`)"),
        ({"student": {"from": "teacher"}}, f"[{MINILM}](https://huggingface.co/{MINILM}) (as trained in "),
        ({"student": {"from": "teacher", "init": "random"}, "kind": "transform"}, "random weights (as it is in stage"),
        (None, "`assistant`\n"),
    ],
)
def test_the_teacher_is_named_by_the_model_that_it_came_from(start, shown):
    """The name of a stage tells nothing to who has not got the run."""
    recipe = copy.deepcopy(REPORT["recipe"])
    recipe["stages"]["student"]["teacher"] = "assistant"
    if start is not None:
        recipe["stages"]["assistant"] = start
    assert f"- Teacher: {shown}" in card(changed(recipe=recipe), stage="student")


def test_only_the_methods_that_were_used_are_cited():
    content = card(REPORT, stage="student")
    assert "[arXiv:1503.02531](https://arxiv.org/abs/1503.02531)" in content
    assert "Romero" not in content
    assert "Hinton" not in card(REPORT, stage="teacher")


def test_the_exits_beside_a_model_are_told_of_and_used_as_the_card_says():
    assert "Early exits" not in card(stage="student")
    recipe = copy.deepcopy(REPORT["recipe"])
    recipe["stages"]["student"]["parts"] = {"early_exits": {"freeze": True}}
    text = card(changed(recipe=recipe), stage="student", repo_id="ada/film")
    assert "- Parts of its training: `early_exits` (freeze True)" in text
    code = 'Predictor.load("ada/film", exit_threshold=0.3).answers([("A first text.", "A second text.")])'
    assert code in text and "`exits.safetensors`" in text


def test_the_recipe_in_the_card_is_yaml_that_can_be_read():
    content = card(REPORT, stage="student")
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)\n```", content, re.S)[1])
    assert recipe["stages"]["student"] == REPORT["recipe"]["stages"]["student"]
    assert recipe["data"]["data_dir"] == "glue"


@pytest.mark.parametrize("hidden", ["/home", "somebody", "hub_token", "hf_aaaa"])
def test_neither_paths_nor_tokens_are_published(hidden):
    recipe = copy.deepcopy(REPORT["recipe"])
    recipe["stages"]["teacher"]["model"] = "/home/somebody/teacher"
    recipe["data"]["task"] = "C:\\Users\\somebody\\my.csv"
    recipe["name"] = "run with hf_" + "a" * 34
    report = changed(
        recipe=recipe, teacher="/home/somebody/teacher", source="/home/somebody/my.csv", task="/home/somebody/my.csv"
    )
    report["dataset_id"] = None
    for stage in ("teacher", "student"):
        content = card(report, stage=stage)
        assert hidden not in content
        assert "- Start weights: `teacher`" in content
        data = ModelCard(content).data
        assert data.base_model is None
        assert data.datasets is None


def test_a_teacher_from_outside_the_run_does_not_show_its_folder():
    """It is a row of the table, named by where it lies on this machine."""
    stages = [{**ROWS[0].model_dump(), "stage": "/home/somebody/runs/big"}, *ROWS[1:]]
    content = card(changed(stages=stages), stage="student")
    assert "| big (teacher) | 0.900 |" in content
    assert "/home" not in content


def test_a_sample_says_what_it_is():
    report = changed(task="mnli-sample", dataset_id=None, source="mnli-sample: an excerpt of MNLI")
    assert "- Data: mnli-sample: an excerpt of MNLI\n" in card(report, stage="student")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("bert-base-uncased", True),
        ("google-bert/bert-base-uncased", True),
        ("teacher", False),
        ("a-folder", False),
        ("runs/mrpc/teacher", False),
        ("./teacher", False),
        ("local/model", False),
    ],
)
def test_only_a_hub_id_becomes_the_base_model(name, known, tmp_path, monkeypatch):
    (tmp_path / "local" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    report = {**without("recipe"), "teacher": name}
    assert ModelCard(card(report, stage="student")).data.base_model == ([name] if known else None)


def test_a_student_with_weights_of_its_own_names_both_models():
    recipe = copy.deepcopy(REPORT["recipe"])
    recipe["stages"]["student"] = {"model": "distilbert/distilbert-base-uncased", "teacher": "teacher"}
    data = ModelCard(card(changed(recipe=recipe), stage="student")).data
    assert data.base_model == ["distilbert/distilbert-base-uncased", MINILM]


def test_a_bare_report_gives_a_card_without_invented_facts():
    content = card({"stages": [{"stage": "student"}]}, stage="student")
    read = ModelCard(content)
    assert read.data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["distilnlp", "text-classification"],
    }
    assert not re.search(r"\d", re.sub(r"```.*?```|ms p50/p95", "", read.text, flags=re.S))
    assert "None" not in content


@pytest.mark.parametrize(
    ("columns", "problem_type", "labels", "printed"),
    [
        (["sentence1", "sentence2"], "single_label_classification", ["no", "yes"], {"no", "yes"}),
        (["sentence"], "single_label_classification", ["a", "b", "c"], {"a", "b", "c"}),
        (["sentence"], "multi_label_classification", ["a", "b"], {"[]", "['a']", "['b']", "['a', 'b']"}),
        (["sentence1", "sentence2"], "regression", None, None),
    ],
)
def test_the_code_in_the_card_runs(tmp_path, capsys, columns, problem_type, labels, printed):
    model = tiny_model("bert", label_names=labels, num_labels=1, problem_type=problem_type)
    model.save_pretrained(tmp_path / "student")
    tiny_tokenizer().save_pretrained(tmp_path / "student")
    capsys.readouterr()
    report = changed(text_columns=columns, problem_type=problem_type, label_names=labels)

    content = card(report, stage="student", repo_id=str(tmp_path / "student"))
    code = re.search(r"```python\n(.*?)```", content, re.S)[1]
    exec(compile(code, "card", "exec"), {})

    out = capsys.readouterr().out.strip()
    assert out in printed if printed else float(out) is not None
    assert ("A second text." in code) == (len(columns) == 2)
    assert "max_length=48" in code


@pytest.mark.parametrize("kind", ["static", "bilstm"])
def test_the_code_of_a_card_loads_an_architecture_of_ours(tmp_path, capsys, kind):
    """Also of a stage that goes on from the one that made it. No class of transformers knows such a model."""
    teacher, vocabulary = tiny_model("bert", label_names=["no", "yes"]), Vocabulary.whole_of(tiny_tokenizer())
    build_student(teacher, architecture=kind, vocabulary=vocabulary).save_pretrained(tmp_path / "student")
    tiny_tokenizer().save_pretrained(tmp_path / "student")
    capsys.readouterr()
    report = changed(label_names=["no", "yes"])
    stages = report["recipe"]["stages"]
    stages["start"] = {**stages["student"], "student": {"from": "teacher", "architecture": kind}}
    stages["student"] = {"model": "start"}

    content = card(report, stage="student", repo_id=str(tmp_path / "student"))
    exec(compile(re.search(r"```python\n(.*?)```", content, re.S)[1], "card", "exec"), {})

    assert capsys.readouterr().out.strip() in ("no", "yes")
    assert ModelCard(content).data.library_name == "distilnlp"
    assert "The architecture is one of distilnlp's own" in content


def test_a_fence_in_the_recipe_does_not_end_the_fold():
    content = card(changed(recipe={"name": "```\n<script>"}), stage="student")
    assert "````yaml\n" in content


def test_an_unknown_stage_is_refused():
    with pytest.raises(RequestError, match="unknown stage 'studnet': did you mean 'student'"):
        card(REPORT, stage="studnet")
    with pytest.raises(ValidationError, match="at least 1 item"):
        Report(stages=[])


def named(name):
    """The report with a name of somebody's choice wherever a run takes one over."""
    report = changed(
        name=name,
        task=name,
        source=name,
        dataset_id=name,
        eval_split=name,
        label_names=[name, f"{name} 2"],
        main_metric=name,
        language=name,
        license=name,
        versions={name: name},
        sources={"soft_target": name, "hidden_state": name},
    )
    report["recipe"]["data"]["task"] = name
    stage = report["stages"][2]
    stage.update(main_metric=name, stage=f"{name}-student", extra={name: {"accuracy": 0.5, name: 0.5}}, run=name)
    stage["cost"].update(device=name, dtype=name)
    spec = report["recipe"]["stages"].pop("student")
    spec["objective"]["hard_label"]["kind"] = name
    report["recipe"]["stages"][f"{name}-student"] = spec
    return report


def blocks(name):
    """The card of that report as it is read: its metadata's keys, and the kinds of its blocks in order."""
    content = card(named(name), stage=f"{name}-student")
    body = ModelCard(content).text
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [child for child in inline if child.type in ("html_inline", "image")]
    links = [str(child.attrs["href"]) for child in inline if child.type == "link_open"]
    assert all(link.startswith(("https://huggingface.co/", "https://arxiv.org/")) for link in links)
    return sorted(ModelCard(content).data.to_dict()), [(token.type, token.tag, token.info) for token in tokens]


@pytest.fixture(scope="module")
def plain_blocks():
    return blocks("plain")


@pytest.mark.slow
@settings(max_examples=60)
@given(st.text(st.sampled_from("-#|`<>[]()!*_~\\&:'\"{}%\n\r\t\x00\x1b\x85\u2028\u202e\ud800 a0/$"), max_size=12))
@example("\n---\n# Another card\n")
@example("\n```\n</details><script>x</script>\n")
@example("| a | b |\n|---|---|\n")
@example("![x](http://elsewhere) [y](http://elsewhere) <img src=x>")
@example("````")
def test_no_name_breaks_out_of_the_place_where_it_stands(plain_blocks, name):
    """Front matter, headings, table, lists, code: the same for whatever the data or a model calls something."""
    assert blocks(f"{name}x") == plain_blocks
    assert "\u202e" not in card(named(f"{name}x"), stage=f"{name}x-student")

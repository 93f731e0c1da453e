"""What may be published and what is refused, all of it before the network, which is shut in this process."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from distilnlp.errors import RequestError
from distilnlp.hub.files import files_to_push, is_ours
from distilnlp.hub.push import push
from distilnlp.models.sentence_modules import DenseSpec, SentenceModules, write_modules
from distilnlp.report.schema import VERSION
from tests.hub_models import CARD, PUBLISHED, RECORDS, REPO, TOKEN, make_model, make_run
from tests.test_onnx_file import classifier
from tests.test_openvino_file import classifier as openvino_classifier

NOWHERE = "http://127.0.0.1:9"  # so that a test that gets further than it should sends its token to nobody


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def refused(folder: Path, match: str, **options: object) -> None:
    with pytest.raises(RequestError, match=match) as caught:
        push(folder, REPO, token=TOKEN, endpoint=NOWHERE, **options)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_complete_folder_gets_as_far_as_the_network(model: Path) -> None:
    refused(model, "offline mode")


def test_exits_go_with_the_model_whose_config_tells_of_them(model: Path) -> None:
    exits = model / "exits.safetensors"
    save_file({"heads.1.0.weight": torch.zeros(2)}, exits)  # left there by another training
    assert set(files_to_push(model)) == PUBLISHED
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "distilnlp_exits": {"layers": [1], "pooling": "cls"}}))
    assert set(files_to_push(model)) == {*PUBLISHED, "exits.safetensors"}
    assert is_ours("exits.safetensors")
    exits.write_bytes(b"\x08" * 20)
    refused(model, "exits.safetensors' is cut off")
    exits.unlink()
    refused(model, "incomplete, exits.safetensors is missing")


def test_a_run_gives_its_last_stage_with_recipe_report_and_card(run: Path) -> None:
    files = files_to_push(run)
    assert set(files) == PUBLISHED | RECORDS
    assert files["model.safetensors"] == run / "student" / "model.safetensors"
    assert files_to_push(run / "student") == files


def test_another_stage_goes_without_the_card_of_the_last(run: Path) -> None:
    files = files_to_push(run, "teacher")
    assert files["config.json"] == run / "teacher" / "config.json"
    assert set(files) == PUBLISHED | RECORDS - {"README.md"}
    (run / "teacher" / "README.md").write_text(CARD)
    assert files_to_push(run, "teacher")["README.md"] == run / "teacher" / "README.md"


def test_a_stage_must_be_known_and_finished(run: Path) -> None:
    refused(run, "unknown stage 'studnet': did you mean 'student'", stage="studnet")
    (run / "student" / "metrics.json").unlink()
    refused(run, "'student' .* is not finished: .* by name: teacher")
    (run / "README.md").unlink()
    assert files_to_push(run, "teacher")


def test_a_run_without_its_card_is_not_finished(run: Path) -> None:
    (run / "README.md").unlink()
    refused(run, "no model card")


def test_what_is_no_model_and_no_run(tmp_path: Path, model: Path) -> None:
    refused(tmp_path / "absent", "is not a folder")
    refused(tmp_path, "neither a model .* nor a run")
    refused(model, "holds a model, not stages", stage="student")


@pytest.mark.parametrize("name", ["me/a/b", "a b", "https://huggingface.co/me/x", "-x", "a--b"])
def test_a_name_that_cannot_be(model: Path, name: str) -> None:
    with pytest.raises(RequestError, match="needed 'owner/name'"):
        push(model, name, token=TOKEN, endpoint=NOWHERE)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("model.safetensors", "no safetensors weights: save"),
        ("config.json", "neither"),
        ("tokenizer.json", "tokenizer"),
    ],
)
def test_an_incomplete_folder(model: Path, name: str, match: str) -> None:
    (model / name).unlink()
    refused(model, match)


def test_weights_in_pickles_are_not_published(model: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    refused(model, "no safetensors weights but pytorch_model.bin, which can run code")


def test_broken_files(model: Path) -> None:
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    for broken in (whole[:-1], whole[:20], b""):
        weights.write_bytes(broken)
        refused(model, "cut off or no safetensors")
    weights.write_bytes(whole)
    (model / "config.json").write_text("{")
    refused(model, "cannot be read as JSON")


def shard(model: Path, names: list[str]) -> None:
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    index = {key: names[number % len(names)] for number, key in enumerate(tensors)}
    for name in names:
        part = {key: tensors[key] for key, where in index.items() if where == name}
        save_file(part, model / Path(name).name)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def test_shards_are_all_there_or_refused(model: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    shard(model, names)
    files = files_to_push(model)
    assert set(files) == PUBLISHED - {"model.safetensors"} | {*names, "model.safetensors.index.json"}
    (model / names[1]).unlink()
    refused(model, f"incomplete, {names[1]} is missing")


def test_an_index_cannot_name_other_files(model: Path) -> None:
    shard(model, ["../model-1-of-1.safetensors"])
    refused(model, "names no shards")


def adapter(model: Path, base: str) -> None:
    (model / "model.safetensors").rename(model / "adapter_model.safetensors")
    (model / "config.json").unlink()
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))


def test_an_adapter_stands_on_what_others_can_load(model: Path) -> None:
    adapter(model, "google-bert/bert-base-uncased")
    expected = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(files_to_push(model)) == expected
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    refused(model, "which nobody else can load")


@pytest.mark.parametrize("secret", [TOKEN, "hf_" + "Zz9" * 12, "hf_oauth_" + "eyJ" * 12])
@pytest.mark.parametrize("name", ["README.md", "recipe.yaml", "tokenizer_config.json"])
def test_a_token_in_a_file_is_refused(run: Path, name: str, secret: str) -> None:
    path = run / "student" / name if name.startswith("tokenizer") else run / name
    path.write_text(f'{path.read_text()}\n# {{"hub_token": "{secret}"}}\n')
    with pytest.raises(RequestError, match=f"{name} holds an access token") as caught:
        push(run, REPO, token=TOKEN, endpoint=NOWHERE)
    assert secret not in str(caught.value)


def test_a_token_in_the_weights_or_the_message_is_refused(model: Path) -> None:
    refused(model, "commit message holds an access token", commit_message=f"by {TOKEN}")
    weights = model / "model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt", "by": TOKEN})
    refused(model, "model.safetensors holds an access token")


def test_words_that_begin_like_a_token_are_no_tokens(model: Path) -> None:
    (model / "README.md").write_text("hf_hub_download_with_a_very_long_name_indeed(hf_...)")
    refused(model, "offline mode")


def test_a_file_that_is_a_link_is_not_followed(run: Path, tmp_path: Path) -> None:
    """Under the name of a file that is published there could be any other of this machine, or of the run itself."""
    secret = tmp_path / "secret.txt"
    secret.write_text("private")
    (tmp_path / "recipe.yaml").write_text((run / "recipe.yaml").read_text())
    for path, target in (
        (run / "README.md", secret),
        (run / "student" / "tokenizer_config.json", secret),
        (run / "recipe.yaml", tmp_path / "recipe.yaml"),
        (run / "student" / "model.safetensors", run / "teacher" / "model.safetensors"),
    ):
        kept = path.read_bytes()
        path.unlink()
        path.symlink_to(target)
        refused(run, rf"{path.name}' is a symbolic link to '{target}'.*cp -rL")
        path.unlink()
        path.write_bytes(kept)
    assert files_to_push(run)


def test_a_stage_that_is_a_link_out_of_the_run_is_not_followed(run: Path, tmp_path: Path) -> None:
    (run / "student").rename(tmp_path / "other")
    (run / "student").symlink_to(tmp_path / "other")
    refused(run, "is a symbolic link to .*other.*has to stand in")


def test_a_run_may_be_reached_through_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(run)
    assert len(files_to_push(tmp_path / "latest")) == len(files_to_push(run))


@pytest.mark.parametrize("stage", ["../other", "..", "/", "a/b"])
def test_a_stage_cannot_be_a_path(run: Path, tmp_path: Path, stage: str) -> None:
    make_model(tmp_path / "other")
    (run / "recipe.yaml").write_text(f"stages: {{'{stage}': {{}}}}\n")
    refused(run, "recipe.yaml' is not the recipe of a run: .* is no name of a stage")


@pytest.mark.parametrize(
    ("report", "match"),
    [
        ("{}", "lists no stages"),
        ("[1]", "lists no stages"),
        ('{"version": 99, "stages": [{"stage": "student"}]}', "version 99"),
        (f'{{"version": {VERSION}, "stages": [{{"stage": 5}}]}}', "is damaged"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_report_of_another_shape_is_refused_before_anything_is_sent(run: Path, report: str, match: str) -> None:
    """Without it the model would go out with an old card, or with none."""
    (run / "report.json").write_text(report)
    refused(run, f"report.json' .*{match}")


def test_a_recipe_that_cannot_be_read_is_refused(run: Path) -> None:
    (run / "recipe.yaml").write_text("stages: {teacher: {}, student: {}}\nx: " + "[" * 500)
    refused(run, "recipe.yaml line 2: not valid YAML: more than 50 levels")


@pytest.fixture
def sentence_model(model: Path) -> Path:
    modules = SentenceModules(("mean",), (DenseSpec(4, 2, bias=False),), normalize=True)
    write_modules(model, modules, 4, [{"linear.weight": torch.ones(2, 4)}])
    return model


def test_a_sentence_encoder_goes_with_the_folders_of_its_modules(sentence_model: Path) -> None:
    (sentence_model / "2_Dense" / "notes.txt").write_text("mine")
    sent = set(files_to_push(sentence_model))
    assert {name for name in sent if "/" in name} == {
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    }
    assert {"modules.json", "sentence_bert_config.json", "model.safetensors"} <= sent
    assert is_ours("2_Dense/model.safetensors") and not is_ours("2_Dense/notes.txt")


def test_a_sentence_encoder_without_one_of_its_modules_is_incomplete(sentence_model: Path) -> None:
    (sentence_model / "1_Pooling" / "config.json").unlink()
    refused(sentence_model, "1_Pooling/config.json is missing")


@pytest.mark.parametrize("listed", ['[{"path": "../secret"}]', '{"path": 1}', "[", '[{"path": "2_Dense/deep"}]'])
def test_modules_lead_to_no_other_folder(sentence_model: Path, listed: str) -> None:
    (sentence_model / "modules.json").write_text(listed)
    refused(sentence_model, r"modules\.json")


def test_a_module_that_is_a_link_is_not_followed(sentence_model: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    (sentence_model / "1_Pooling" / "config.json").unlink()
    (sentence_model / "1_Pooling" / "config.json").symlink_to(tmp_path / "elsewhere.json")
    refused(sentence_model, "symbolic link")


@pytest.fixture
def exported(model: Path) -> Path:
    """A model as ONNX files alone, and what must stay at home beside them."""
    (model / "model.safetensors").unlink()
    classifier(model / "onnx" / "model.onnx", labels=3)
    (model / "onnx" / "model.onnx.data").write_bytes(b"private")
    (model / "onnx" / "convert.py").write_text("private")
    return model


def test_an_exported_model_goes_with_its_onnx_files(exported: Path) -> None:
    assert set(files_to_push(exported)) == {*PUBLISHED, "onnx/model.onnx"} - {"model.safetensors"}
    classifier(exported / "onnx" / "model_quantized.onnx", labels=3)
    assert {"onnx/model.onnx", "onnx/model_quantized.onnx"} <= set(files_to_push(exported))
    assert is_ours("onnx/model_quantized.onnx")
    assert not is_ours("onnx/convert.py")
    assert not is_ours("model.onnx")
    refused(exported, "offline mode")


def test_onnx_files_go_with_the_weights_that_stand_beside_them(model: Path) -> None:
    classifier(model / "onnx" / "model.onnx", labels=3)
    assert set(files_to_push(model)) == {*PUBLISHED, "onnx/model.onnx"}


def test_a_file_that_is_no_onnx_is_not_published(exported: Path) -> None:
    (exported / "onnx" / "model.onnx").write_bytes(b"PK\x03\x04" * 9)
    refused(exported, r"model\.onnx is no ONNX file, or a damaged one")


def test_an_onnx_file_with_its_weights_elsewhere_is_not_published(exported: Path) -> None:
    path = exported / "onnx" / "model.onnx"
    graph = onnx.load(path)
    onnx.external_data_helper.set_external_data(graph.graph.initializer[0], location="/etc/hostname")
    path.write_bytes(graph.SerializeToString())
    refused(exported, r"model\.onnx has its weights in another file \('/etc/hostname'\)")


def test_an_onnx_file_that_is_a_link_is_not_published(exported: Path, tmp_path: Path) -> None:
    path = exported / "onnx" / "model.onnx"
    path.rename(tmp_path / "elsewhere.onnx")
    path.symlink_to(tmp_path / "elsewhere.onnx")
    refused(exported, "is a symbolic link to")


def test_a_token_in_the_notes_of_an_onnx_file_is_found(exported: Path) -> None:
    path = exported / "onnx" / "model.onnx"
    graph = onnx.load(path)
    graph.graph.node[0].doc_string = f"from https://user:{TOKEN}@hub"
    onnx.save(graph, path)
    refused(exported, "holds an access token")


@pytest.fixture
def in_openvino(model: Path) -> Path:
    """A model as graphs of OpenVINO alone, and what must stay at home beside them."""
    (model / "model.safetensors").unlink()
    openvino_classifier(model / "openvino" / "openvino_model.xml", labels=3)
    (model / "openvino" / "notes.bin").write_bytes(b"private")
    (model / "openvino_model.bin").write_bytes(b"private")
    return model


def test_a_graph_of_openvino_goes_with_its_weights(in_openvino: Path) -> None:
    names = {"openvino/openvino_model.xml", "openvino/openvino_model.bin"}
    assert set(files_to_push(in_openvino)) == {*PUBLISHED, *names} - {"model.safetensors"}
    assert all(map(is_ours, names))
    assert not is_ours("openvino/notes.bin")
    assert not is_ours("openvino_model.bin")
    refused(in_openvino, "offline mode")


def test_what_is_no_graph_of_openvino_is_not_published(in_openvino: Path) -> None:
    path = in_openvino / "openvino" / "openvino_model.xml"
    plain = path.read_text()
    path.write_text(plain.replace('batch_dims="0"', 'batch_dims="/etc/hostname"'))
    refused(in_openvino, r"openvino_model\.xml is no model of OpenVINO, or a damaged one \(it names '/etc/hostname'")
    path.write_text("<html/>")
    refused(in_openvino, r"openvino_model\.xml is no model of OpenVINO, or a damaged one")
    path.write_text(plain)
    path.with_suffix(".bin").write_bytes(b"private" * 99)
    refused(in_openvino, "the two are not of one model")


def test_a_link_or_a_token_in_a_graph_of_openvino_is_found(in_openvino: Path, tmp_path: Path) -> None:
    path = in_openvino / "openvino" / "openvino_model.xml"
    plain = path.read_text()
    path.write_text(plain.replace('name="made"', f'name="{TOKEN}"'))
    refused(in_openvino, "holds an access token")
    path.write_text(plain)
    weights = path.with_suffix(".bin")
    weights.rename(tmp_path / "elsewhere.bin")
    weights.symlink_to(tmp_path / "elsewhere.bin")
    refused(in_openvino, "is a symbolic link to")

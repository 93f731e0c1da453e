"""What `push` publishes, with the real client over HTTP against the server of `tests.hub_server`."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from distilnlp.report.card import render_card
from distilnlp.report.schema import Report, StageResult, to_json
from tests.hub_models import (
    CARD,
    LOAD,
    NAMES,
    PUBLISHED,
    RECORDS,
    REPO,
    TEXTS,
    TOKEN,
    make_model,
    make_run,
    start,
)
from tests.hub_server import SIGNATURE, HubServer, hub_server
from tests.tiny import tiny_tokenizer

# The client reads HF_ENDPOINT and HF_HUB_OFFLINE when it is imported, so what uses the network runs in processes of
# their own: one that pushes what it is told, line by line, and for the test of loading two that do one thing each.
WORKER = """
import json, sys, traceback
from types import SimpleNamespace
from huggingface_hub.utils import _http
from distilnlp.errors import DistilError
from distilnlp.hub import push
_http.time = SimpleNamespace(sleep=lambda seconds: None)  # before it tries again
for line in sys.stdin:
    try:
        answer = {"url": push(**json.loads(line))}
    except DistilError as error:
        kind, text = type(error).__name__, traceback.format_exc()
        answer = {"error": f"{kind}: {error}", "status": error.exit_status, "traceback": text}
    sys.stderr.flush()
    print(json.dumps(answer), flush=True)
"""

PREDICT = """
import json, sys
from distilnlp.models import Predictor
repo_id, texts = json.loads(sys.stdin.readline())
print(json.dumps(Predictor.load(repo_id).logits(texts).tolist()))
"""


class Client:
    """Pushes to ``server`` from another process and hears all that is said there."""

    def __init__(self, process: subprocess.Popen[str], home: Path) -> None:
        self.process, self.home = process, home
        self.server: HubServer
        self.stderr = ""

    def ask(self, folder: Path, repo_id: str, token: str | None, **options: object) -> dict[str, str]:
        before = len((self.home / "stderr").read_text())
        request = {"folder": str(folder), "repo_id": repo_id, "token": token, "endpoint": self.server.url, **options}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        self.stderr = (self.home / "stderr").read_text()[before:]
        assert line, self.stderr
        said = line + self.stderr
        assert SIGNATURE not in said
        assert not any(part in said for part in (token or "").split())
        return json.loads(line)

    def push(self, folder: Path, repo_id: str = REPO, token: str | None = TOKEN, **options: object) -> str:
        answer = self.ask(folder, repo_id, token, **options)
        assert "url" in answer, answer
        return answer["url"]

    def fail(self, folder: Path, repo_id: str = REPO, token: str | None = TOKEN, **options: object) -> str:
        """Kind and text of the error, after checking that it is one line and all that a traceback shows."""
        answer = self.ask(folder, repo_id, token, **options)
        assert len(answer["error"].splitlines()) == 1
        assert len(answer["error"]) < 600
        assert answer["traceback"].count("Traceback") == 1
        assert answer["status"] == {"RequestError": 2, "RunError": 1}[answer["error"].split(":")[0]]
        return answer["error"]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    with start(WORKER, home) as process:
        yield Client(process, home)
        process.kill()


@pytest.fixture
def server() -> Iterator[HubServer]:
    with hub_server() as server:
        server.users[TOKEN] = "ada"
        yield server


@pytest.fixture
def client(process: Client, server: HubServer) -> Client:
    process.server = server
    return process


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def puts(server: HubServer) -> list[str]:
    return [line for line in server.log if line.startswith("PUT")]


@pytest.mark.slow(25)
def test_what_was_pushed_loads_and_predicts_the_same(run: Path, tmp_path: Path, server: HubServer) -> None:
    """Address and token come from the environment here, as for most users."""
    env = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}
    with start(WORKER, tmp_path / "pusher", **env) as pusher:
        said, _ = pusher.communicate(json.dumps({"folder": str(run), "repo_id": REPO, "private": True}))
    assert json.loads(said) == {"url": f"{server.url}/{REPO}"}
    repo = server.repos[REPO]
    assert repo.private
    assert set(repo.head.files) == {".gitattributes", *PUBLISHED, *RECORDS}
    assert len(repo.commits) == 2

    with start(LOAD, tmp_path / "loader", **env) as loader:
        said, _ = loader.communicate(json.dumps([REPO, TEXTS]))
    loaded = json.loads(said)
    local = AutoModelForSequenceClassification.from_pretrained(run / "student")
    with torch.no_grad():
        expected = local(**tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")).logits
    torch.testing.assert_close(torch.tensor(loaded["logits"]), expected, atol=0, rtol=0)
    assert tuple(loaded["names"]) == NAMES

    # With our own loader, which fetches neither pickles nor code, and by its cache once the Hub is out of reach.
    repo.head.files["pytorch_model.bin"] = b"a pickle"
    for offline in ("0", "1"):
        with start(PREDICT, tmp_path / "predictor", **env, HF_HUB_OFFLINE=offline) as predictor:
            said, _ = predictor.communicate(json.dumps([REPO, TEXTS]))
        torch.testing.assert_close(torch.tensor(json.loads(said)), expected, atol=1e-6, rtol=0)
    assert not [line for line in server.log if "pytorch_model.bin" in line]


@pytest.mark.slow
def test_a_run_is_published_without_the_paths_of_this_machine_and_its_card_names_the_repository(
    run: Path, client: Client, server: HubServer
) -> None:
    recipe = {"name": "film", "data": {"task": str(run / "film.csv")}, "stages": {"teacher": {}, "student": {}}}
    stages = [StageResult(stage=name) for name in ("student", "teacher")]
    report = Report(task=str(run / "film.csv"), stages=stages, recipe=recipe)
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    (run / "report.json").write_text(to_json(report))
    (run / "README.md").write_text(render_card(report, stage="student"))
    client.push(run)
    files = server.repos[REPO].head.files
    assert f'name = "{REPO}"' in files["README.md"].decode()
    assert not [name for name, content in files.items() if str(run).encode() in content]
    assert yaml.safe_load(files["recipe.yaml"]) == {**recipe, "data": {"task": "film.csv"}}
    assert json.loads(files["report.json"])["task"] == "film.csv"
    client.push(run, stage="teacher")  # which has no card on the disk
    assert server.repos[REPO].head.files["README.md"] == render_card(report, stage="teacher", repo_id=REPO).encode()

    (run / "README.md").write_text(CARD)  # written by hand
    client.push(run)
    assert server.repos[REPO].head.files["README.md"].decode() == CARD


@pytest.mark.slow
def test_a_score_on_a_whole_split_goes_along_and_leaves_with_it(run: Path, client: Client, server: HubServer) -> None:
    """Also as the Hub's leaderboards read it; what a later push does not bring is not left behind."""
    scored = {"main_metric": "f1", "score": 0.875, "metrics": {"f1": 0.875}}
    stages = [StageResult(stage=name, **scored) for name in ("teacher", "student")]
    report = Report(task="mrpc", dataset_id="nyu-mll/glue", eval_split="validation", main_metric="f1", stages=stages)
    (run / "report.json").write_text(to_json(report))
    client.push(run)
    (entry,) = yaml.safe_load(server.repos[REPO].head.files[".eval_results/distilnlp.yaml"])
    assert entry["dataset"] == {"id": "nyu-mll/glue", "task_id": "mrpc"}
    assert entry["value"] == 0.875
    (run / "report.json").write_text(to_json(report.model_copy(update={"eval_split": None})))
    server.repos[REPO].commit("theirs", {**server.repos[REPO].head.files, ".eval_results/theirs.yaml": b"[]"})
    client.push(run)
    assert [name for name in server.repos[REPO].head.files if "eval_results" in name] == [".eval_results/theirs.yaml"]


def test_the_token_is_nowhere(run: Path, client: Client, server: HubServer) -> None:
    """`Client.ask` looks through what was printed; here: all that was sent, but for the header to the Hub itself."""
    client.push(run)
    for commit in server.repos[REPO].commits:
        assert TOKEN not in commit.message
        assert all(TOKEN.encode() not in content for content in commit.files.values())
    assert server.upload_headers
    assert TOKEN not in "".join([*server.upload_headers, *server.log])
    written = [path for path in client.home.rglob("*") if path.is_file()]
    assert all(TOKEN.encode() not in path.read_bytes() for path in written)


def test_progress_is_shown_and_no_noise(model: Path, client: Client) -> None:
    (model / "README.md").write_text("# No metadata, of which the Hub warns\n")
    client.push(model)
    assert "model.safetensors" in client.stderr
    assert "100%" in client.stderr
    assert "Warning" not in client.stderr


def test_a_connection_dropped_once_in_the_upload_is_tried_again(
    model: Path, client: Client, server: HubServer
) -> None:
    server.drop["PUT"] = 1
    client.push(model)
    assert [line.split()[-1] for line in puts(server)] == ["cut", "200"]
    assert "model.safetensors" in server.repos[REPO].head.files


def test_a_connection_that_stays_down_shows_the_old_commit(
    model: Path, client: Client, server: HubServer, tmp_path: Path
) -> None:
    """The client gives up after six attempts."""
    client.push(model)
    old = server.repos[REPO].head
    new = make_model(tmp_path / "new", seed=9)
    server.drop["PUT"] = 100

    message = client.fail(new)
    assert message.startswith("RunError: the push to 'ada/film'")
    assert "safe to push again" in message
    assert server.repos[REPO].head is old
    assert sum(line.endswith("cut") for line in puts(server)) == 6

    server.drop.clear()
    client.push(new)
    files = server.repos[REPO].head.files
    assert {name: files[name] for name in PUBLISHED} == {name: (new / name).read_bytes() for name in PUBLISHED}


def test_a_connection_dropped_in_the_commit_publishes_nothing(model: Path, client: Client, server: HubServer) -> None:
    server.drop["POST .*/commit/"] = 1
    message = client.fail(model)
    assert message.startswith("RunError")
    assert "safe to push again" in message
    assert set(server.repos[REPO].head.files) == {".gitattributes"}

    client.push(model)
    assert set(server.repos[REPO].head.files) == {".gitattributes", *PUBLISHED}
    assert len(puts(server)) == 1  # the weights of the first push are used


def test_a_commit_whose_answer_is_lost_is_not_made_twice(model: Path, client: Client, server: HubServer) -> None:
    server.mute["POST .*/commit/"] = 1
    assert "safe to push again" in client.fail(model)
    assert set(server.repos[REPO].head.files) == {".gitattributes", *PUBLISHED}
    client.push(model)
    assert len(server.repos[REPO].commits) == 2


def test_a_commit_of_somebody_else_meanwhile_is_not_mixed_with_ours(
    model: Path, client: Client, server: HubServer
) -> None:
    client.push(model)
    server.intruder = True
    (model / "README.md").write_text(CARD)
    assert client.fail(model).startswith("RunError: 'ada/film' was changed by someone else meanwhile (412)")
    assert "README.md" not in server.repos[REPO].head.files


def test_an_existing_repository_takes_the_new_model_and_keeps_what_is_not_ours(
    model: Path, client: Client, server: HubServer, tmp_path: Path
) -> None:
    """An adapter left behind would be loaded instead of the new weights."""
    client.push(model)
    repo = server.repos[REPO]
    left = {"adapter_config.json": b"{}", "model-00001-of-00002.safetensors": b"", "vocab.txt": b""}
    others = {"notes.md": b"mine", "onnx/config.json": b"{}", "pytorch_model.bin": b"", "README.md": CARD.encode()}
    repo.commit("by hand", {**repo.head.files, **left, **others})

    new = make_model(tmp_path / "new", seed=5)
    client.push(new, commit_message="better")
    assert repo.head.message == "better"
    assert set(repo.head.files) == {".gitattributes", *PUBLISHED, *others}
    assert repo.head.files["model.safetensors"] == (new / "model.safetensors").read_bytes()


def test_private_makes_the_repository_private_and_leaves_it_so(
    model: Path, client: Client, server: HubServer, tmp_path: Path
) -> None:
    client.push(model, private=True)
    client.push(make_model(tmp_path / "new", seed=4))
    assert server.repos[REPO].private
    assert len(server.repos[REPO].commits) == 3


def test_private_does_not_fill_a_public_repository(model: Path, client: Client, server: HubServer) -> None:
    """The Hub itself ignores the wish for privacy when the repository exists."""
    client.push(model)
    before = server.repos[REPO].head
    (model / "README.md").write_text(CARD)
    assert client.fail(model, private=True).startswith("RequestError: 'ada/film' exists and is public")
    assert server.repos[REPO].head is before


def test_a_bare_name_belongs_to_the_owner_of_the_token(model: Path, client: Client, server: HubServer) -> None:
    assert client.push(model, "film") == f"{server.url}/{REPO}"
    assert client.push(model, "film") == f"{server.url}/{REPO}"


@pytest.mark.parametrize(
    ("repo_id", "token", "expected"),
    [
        (REPO, None, "no token"),
        (REPO, "hf_" + "x" * 34, "does not accept the token (401)"),
        (REPO, TOKEN + "\n", ""),
        (REPO, TOKEN[:20] + "\n" + TOKEN[20:], "the token holds a space"),
        ("eve/film", TOKEN, "may not write to 'eve/film' (403)"),
    ],
)
def test_who_may_push(
    repo_id: str, token: str | None, expected: str, model: Path, client: Client, server: HubServer
) -> None:
    if not expected:
        assert client.push(model, repo_id, token)
        return
    message = client.fail(model, repo_id, token)
    assert message.startswith("RequestError")
    assert expected in message
    assert "hf auth login" in message
    assert token is None or token not in message
    assert not server.repos


def test_when_the_fast_way_of_uploading_fails_the_plain_one_is_named(
    model: Path, server: HubServer, tmp_path: Path
) -> None:
    pytest.importorskip("hf_xet")
    env = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "0"}
    with start(WORKER, tmp_path / "pusher", **env) as pusher:
        said, _ = pusher.communicate(json.dumps({"folder": str(model), "repo_id": REPO}))
    assert json.loads(said)["error"].endswith("HF_HUB_DISABLE_XET=1 uploads in the plain way")
    assert TOKEN not in said + (tmp_path / "pusher" / "stderr").read_text()
    assert set(server.repos[REPO].head.files) == {".gitattributes"}


def test_a_failed_upload_does_not_show_the_signed_address(model: Path, client: Client, server: HubServer) -> None:
    """`Client.ask` looks for the signature."""
    server.is_full = True
    message = client.fail(model)
    assert message.startswith(f"RunError: the push to 'ada/film' on {server.url} broke (507: ")
    assert set(server.repos[REPO].head.files) == {".gitattributes"}


def test_a_card_that_the_hub_refuses_publishes_nothing(model: Path, client: Client, server: HubServer) -> None:
    (model / "README.md").write_text("---\nlicense: no end")
    assert "bad metadata" in client.fail(model)
    assert set(server.repos[REPO].head.files) == {".gitattributes"}


@pytest.mark.parametrize("host", ["{}", "127.0.0.1:9"])
def test_the_password_of_an_endpoint_is_not_shown(host: str, model: Path, client: Client, server: HubServer) -> None:
    """In the address of the repository, or in what is said when nobody answers there."""
    endpoint = f"http://ada:s3cret@{host.format(server.url.removeprefix('http://'))}"
    answer = client.ask(model, REPO, TOKEN, endpoint=endpoint)
    assert "s3cret" not in json.dumps(answer) + client.stderr


def test_a_model_without_a_card_goes_with_a_word(model: Path, client: Client) -> None:
    client.push(model)
    assert "no model card goes with it" in client.stderr

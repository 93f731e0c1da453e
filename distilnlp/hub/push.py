"""Publish a trained model on the Hugging Face Hub: one complete commit, or none."""

import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not in its __all__

from distilnlp.errors import DistilError, RequestError, RunError
from distilnlp.hub.files import EVAL_RESULTS, files_to_push, is_ours, refuse_secrets
from distilnlp.hub_token import without_tokens
from distilnlp.report.card import render_card
from distilnlp.report.card_data import eval_results_file, publishable
from distilnlp.report.schema import Report, read_report
from distilnlp.yaml_text import read_yaml, write_yaml

__all__ = ["push"]

logger = logging.getLogger(__name__)

LOG_IN = "log in with `hf auth login` or set HF_TOKEN to a token with write access"
AGAIN = "the repository shows the old commit or the whole new one, never a part, so it is safe to push again"


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    commit_message: str | None = None,
    endpoint: str | None = None,
    stage: str | None = None,
) -> str:
    """Upload weights, tokenizer, recipe, report and model card of ``folder`` in one commit.

    Absolute paths in recipe and report are cut to their last part, and the code in a run's card names the repository.

    Everything that can be wrong with the folder is found before anything is created on the Hub. What an earlier push
    left in the repository and this one does not bring (other weights, an adapter, another vocabulary) is deleted in
    the same commit, because `from_pretrained` would load the mixture. Files of other names are never touched.

    Args:
        folder: a run's folder, a stage's folder in it, or any folder with a model and its tokenizer.
        repo_id: ``owner/name``; a bare ``name`` belongs to whom the token belongs to.
        private: make the new repository private. A public one that exists already is refused, not filled.
        token: with write access; without it ``HF_TOKEN`` or the one of ``hf auth login``. It is written nowhere.
        commit_message: what the history of the repository shows.
        endpoint: address of the Hub; without it ``HF_ENDPOINT``, and without that the public Hub.
        stage: which stage of a run; without it the last one of its recipe.

    Returns:
        The address of the repository.

    Raises:
        RequestError: an incomplete folder, one with a symbolic link or a damaged report, a token in a file, an
            impossible name, no access, offline mode.
        RunError: the connection or the Hub failed; to push again is safe.
    """
    files = files_to_push(folder, stage)
    message = commit_message or "Upload model with distilnlp"
    _check_repo_id(repo_id)
    token = _check_token(token or get_token())
    refuse_secrets(files, message, token)
    report = read_report(files["report.json"]) if "report.json" in files else None
    records = _records(files)
    if is_offline_mode():
        raise RequestError(f"cannot push to '{repo_id}' in offline mode: unset HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE")
    api = HfApi(endpoint=endpoint, token=token)
    with _quiet_client(), _one_line_errors(repo_id, api.endpoint, token):
        return _publish(api, files, report, records, repo_id, private, message)


def _check_repo_id(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise RequestError(
            f"'{repo_id}' cannot be a repository: needed 'owner/name' of letters, digits, '-', '_' and '.', at most 96"
        ) from None


def _check_token(token: str | None) -> str:
    """The token without the line break that a file or a shell may have left; its text is in no message."""
    token = (token or "").strip()
    if not token:
        raise RequestError(f"no token, so nothing can be pushed: {LOG_IN}")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        # The HTTP library would quote such a header, token and all, in its exception.
        raise RequestError(f"the token holds a space or another character that no token has: {LOG_IN}")
    return token


def _records(files: Mapping[str, Path]) -> dict[str, Any]:
    """The content of recipe and report, fit to be published."""
    records = {}
    if "recipe.yaml" in files:
        try:
            text = files["recipe.yaml"].read_text("utf-8")
        except ValueError as error:
            raise RequestError(f"'{files['recipe.yaml']}' cannot be read ({error}): run its recipe again") from None
        records["recipe.yaml"] = publishable(read_yaml(text, str(files["recipe.yaml"]))[0])
    if "report.json" in files:
        records["report.json"] = publishable(json.loads(files["report.json"].read_text("utf-8")))
    return records


def _contents(
    files: Mapping[str, Path], report: Report | None, records: Mapping[str, Any], repo_id: str
) -> dict[str, str | bytes]:
    """What is uploaded under each name: a local file's path, or a text that is not as it is on this machine."""
    contents: dict[str, str | bytes] = {name: str(path) for name, path in files.items()}
    if "recipe.yaml" in records:
        contents["recipe.yaml"] = write_yaml(records["recipe.yaml"]).encode()
    if "report.json" in records:
        contents["report.json"] = (json.dumps(records["report.json"], indent=2) + "\n").encode()
    results = None if report is None else eval_results_file(report, _stage_of(files, report))
    if results is not None:
        contents[EVAL_RESULTS] = results.encode()
    card = _card(files, report, repo_id)
    if card is not None:
        contents["README.md"] = card
    elif "README.md" not in contents:
        logger.warning("no model card goes with it: the folder has no README.md, and no report of this model")
    return contents


def _card(files: Mapping[str, Path], report: Report | None, repo_id: str) -> bytes | None:
    """The card with the repository's name; None when there is no report of the model, or a card changed by hand."""
    if report is None:
        return None
    stage = _stage_of(files, report)
    if report.stage(stage) is None:
        return None
    ours = render_card(report, stage=stage).encode()
    on_disk = files["README.md"].read_bytes() if "README.md" in files else ours
    return render_card(report, stage=stage, repo_id=repo_id).encode() if on_disk == ours else None


def _stage_of(files: Mapping[str, Path], report: Report) -> str:
    """Which row of the report is about the model, if any is."""
    # The report of an exported model ends with the file that its card is of.
    weights = [path for path in files.values() if path.suffix == ".safetensors"]
    exported = any(row.exported is not None for row in report.stages)
    return report.stages[-1].stage if exported or not weights else weights[0].resolve().parent.name


def _publish(
    api: HfApi,
    files: dict[str, Path],
    report: Report | None,
    records: Mapping[str, Any],
    repo_id: str,
    private: bool,
    message: str,
) -> str:
    """Create the repository unless it exists, upload, and let one commit show all of it at once."""
    # None and not False: an organisation may have made private its default.
    url = api.create_repo(repo_id, private=private or None, exist_ok=True)
    repo = api.model_info(url.repo_id)
    if private and not repo.private:
        raise RequestError(
            f"'{url.repo_id}' exists and is public, so nothing was uploaded: make it private in its settings, or push "
            "to another name, or without private"
        )
    present = [file.rfilename for file in repo.siblings or []]
    contents = _contents(files, report, records, url.repo_id)
    stale = [name for name in present if name not in contents and name not in files and is_ours(name)]
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    deletions = [CommitOperationDelete(name) for name in stale]
    # parent_commit: if somebody else commits meanwhile, ours is refused instead of mixed with theirs.
    api.create_commit(url.repo_id, [*operations, *deletions], commit_message=message, parent_commit=repo.sha)
    address = urlsplit(str(url))
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()  # without the password of HF_ENDPOINT


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep the client's progress bars and silence its log, which would show signed addresses when it retries."""
    verbosity = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        hub_logging.set_verbosity(verbosity)


@contextmanager
def _one_line_errors(repo_id: str, endpoint: str, token: str) -> Iterator[None]:
    """Turn whatever the client raises into one line without the token.

    Its own errors, those of its HTTP library and those of its upload engine have no base in common but `Exception`.
    ``from None``: a traceback with their texts could show signed addresses.
    """
    try:
        yield
    except DistilError:
        raise
    except Exception as error:
        raise _explain(error, repo_id, endpoint, token) from None


def _explain(error: Exception, repo_id: str, endpoint: str, token: str) -> DistilError:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    status = next((cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    said = " ".join(" ".join(str(cause) for cause in causes).split()).replace(token, "<token>")
    said = re.sub(r"\?\S+", "", without_tokens(said, "<token>"))[:300]
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return RequestError(f"cannot push to '{repo_id}' in offline mode: unset HF_HUB_OFFLINE")
    if status == 401:
        return RequestError(f"{endpoint} does not accept the token (401): {LOG_IN}")
    if status in (402, 403):
        return RequestError(f"this token may not write to '{repo_id}' ({status}): {LOG_IN}, or push to your own name")
    if status == 404:
        return RequestError(f"{endpoint} has no '{repo_id}' that this token may see (404): check owner and name")
    if status in (400, 413, 422):
        return RequestError(f"{endpoint} refused the files for '{repo_id}' ({status}), nothing was published: {said}")
    if status in (409, 412):
        return RunError(
            f"'{repo_id}' was changed by someone else meanwhile ({status}), nothing was published: push again"
        )
    way_out = "; HF_HUB_DISABLE_XET=1 uploads in the plain way" if "xet" in said else ""
    what = f"{status or type(causes[-1]).__name__}: {said}"
    return RunError(f"the push to '{repo_id}' on {endpoint} broke ({what}): {AGAIN}{way_out}")

"""A small server on loopback that speaks as much of the Hugging Face Hub's protocol as pushing and loading need.

It breaks when told to: cuts the connection in the middle of a body, loses an answer, lets somebody else commit first.
"""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["SIGNATURE", "HubServer", "hub_server"]

SIGNATURE = "X-Signature=sEcReT"  # whoever has a signed address may write there, so no log may show it


@dataclass
class Commit:
    oid: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool
    commits: list[Commit]

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def commit(self, message: str, files: dict[str, bytes]) -> Commit:
        """A commit on top with these files and no others."""
        oid = hashlib.sha256(f"{len(self.commits)} {message}".encode()).hexdigest()[:40]
        self.commits.append(Commit(oid, message, files))
        return self.head


class HubServer(ThreadingHTTPServer):
    """What the Hub knows, and the faults to be played."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.users: dict[str, str] = {}  # token -> user, who may write to user/...
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}  # sha256 -> content
        self.log: list[str] = []  # "METHOD path status"; the status of a broken connection is "cut"
        self.upload_headers: list[str] = []  # of the requests to signed addresses
        # Faults. Keys are patterns of "METHOD path", values say how many requests are still to break.
        self.drop: dict[str, int] = {}  # cut in the middle of the body
        self.mute: dict[str, int] = {}  # carried out, never answered
        self.is_full = False  # takes no large files
        self.intruder = False  # somebody else commits before each of our commits

    @staticmethod
    def breaks(faults: dict[str, int], request: str) -> bool:
        found = [pattern for pattern, left in faults.items() if left and re.match(pattern, request)]
        for pattern in found[:1]:
            faults[pattern] -= 1
        return bool(found)


class Answer(Exception):
    def __init__(self, status: int, body: Any, **headers: str) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the tests read `HubServer.log`."""

    def answer_any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        request = f"{self.command} {path}"
        length = int(self.headers.get("Content-Length", 0))
        if self.server.breaks(self.server.drop, request):
            self.rfile.read(length // 2)
            return self.hang_up(request)
        body = self.rfile.read(length)
        try:
            self.route(path, body)
        except Answer as answer:
            if self.server.breaks(self.server.mute, request):
                return self.hang_up(request)
            self.reply(request, answer)

    do_GET = do_HEAD = do_POST = do_PUT = answer_any

    def hang_up(self, request: str) -> None:
        self.server.log.append(f"{request} cut")
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def reply(self, request: str, answer: Answer) -> None:
        self.server.log.append(f"{request} {answer.status}")
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def route(self, path: str, body: bytes) -> None:
        for methods, pattern, action in ROUTES:
            if self.command in methods.split() and (match := re.fullmatch(pattern, path)):
                action(self, body, *match.groups())
        raise refusal(404, "NotFound", f"no route for {path}")

    def user(self) -> str | None:
        return self.server.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def check_write(self, repo_id: str) -> None:
        if self.user() is None:
            raise refusal(401, "Unauthorized", "Invalid credentials in Authorization header")
        if repo_id.split("/")[0] != self.user():
            raise refusal(403, "Forbidden", f"You have no rights on {repo_id}")

    def repo(self, repo_id: str, write: bool = False) -> Repo:
        """The repository, if the owner of the token may see it, or write to it."""
        if write:
            self.check_write(repo_id)
        repo = self.server.repos.get(repo_id)
        if repo is None or (repo.private and self.user() is None):
            raise refusal(404, "RepoNotFound", "Repository not found")
        return repo

    # Each of these ends in an Answer.

    def create(self, body: bytes) -> None:
        wanted = json.loads(body)
        repo_id = f"{wanted['organization'] or self.user()}/{wanted['name']}"
        self.check_write(repo_id)
        exists = repo_id in self.server.repos
        if not exists:
            self.server.repos[repo_id] = Repo(wanted.get("visibility") == "private", [])
            self.server.repos[repo_id].commit("initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})
        raise Answer(409 if exists else 200, {"url": f"{self.server.url}/{repo_id}"})

    def info(self, body: bytes, repo_id: str) -> None:
        repo = self.repo(repo_id)
        known = {"id": repo_id, "sha": repo.head.oid, "private": repo.private, "tags": []}
        raise Answer(200, {**known, "siblings": [{"rfilename": path} for path in repo.head.files]})

    def tree(self, body: bytes, repo_id: str) -> None:
        files = self.repo(repo_id).head.files
        known = [{"type": "file", "path": path, "size": len(file)} for path, file in files.items()]
        raise Answer(200, [{**each, "oid": etag(each["path"], files[each["path"]])} for each in known])

    def validate_card(self, body: bytes) -> None:
        broken = json.loads(body)["content"].count("---") % 2
        warnings = [{"message": "empty or missing metadata"}]
        raise Answer(400 if broken else 200, {"errors": [{"message": "bad metadata"}] * broken, "warnings": warnings})

    def preupload(self, body: bytes, repo_id: str) -> None:
        files = self.repo(repo_id, write=True).head.files
        plan: list[dict[str, object]] = []
        for path in (file["path"] for file in json.loads(body)["files"]):
            known = {"oid": etag(path, files[path])} if path in files else {}
            mode = "lfs" if is_large(path) else "regular"
            plan.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
        raise Answer(200, {"files": plan})

    def lfs_batch(self, body: bytes, repo_id: str) -> None:
        self.repo(repo_id, write=True)
        objects = json.loads(body)["objects"]
        for wanted in objects:
            if wanted["oid"] not in self.server.blobs:  # otherwise no action, and the client uploads nothing
                address = f"{self.server.url}/lfs/{wanted['oid']}?{SIGNATURE}"
                wanted["actions"] = {"upload": {"href": address}}
        raise Answer(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, body: bytes, oid: str) -> None:
        self.server.upload_headers.append(str(self.headers))
        if self.server.is_full:
            raise refusal(507, "InsufficientStorage", "no room")
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.blobs[oid] = body
        raise Answer(200, {})

    def commit(self, body: bytes, repo_id: str) -> None:
        repo = self.repo(repo_id, write=True)
        if self.server.intruder:
            repo.commit("somebody else's", repo.head.files)
        header, *lines = [json.loads(line) for line in body.splitlines()]
        if header["value"].get("parentCommit", repo.head.oid) != repo.head.oid:
            raise refusal(412, "PreconditionFailed", "A commit has happened since")
        files = dict(repo.head.files)
        for kind, value in [(line["key"], line["value"]) for line in lines]:
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
        new = repo.commit(header["value"]["summary"], files)
        raise Answer(200, {"commitUrl": f"{self.server.url}/{repo_id}/commit/{new.oid}", "commitOid": new.oid})

    def resolve(self, body: bytes, repo_id: str, path: str) -> None:
        head = self.repo(repo_id).head
        if path not in head.files:
            raise refusal(404, "EntryNotFound", path, X_Repo_Commit=head.oid)
        raise Answer(200, head.files[path], X_Repo_Commit=head.oid, ETag=f'"{etag(path, head.files[path])}"')


def refusal(status: int, code: str, message: str, **headers: str) -> Answer:
    return Answer(status, {"error": message}, X_Error_Code=code, X_Error_Message=message, **headers)


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def etag(path: str, content: bytes) -> str:
    """sha256 of a large file, otherwise git's name of a blob."""
    if is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


REPO = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate_card),
    ("GET", rf"/api/models/{REPO}(?:/revision/main)?", Handler.info),
    ("GET", rf"/api/models/{REPO}/tree/[^/]+", Handler.tree),
    ("POST", rf"/api/models/{REPO}/preupload/main", Handler.preupload),
    ("POST", rf"/api/models/{REPO}/commit/main", Handler.commit),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", r"/lfs/([0-9a-f]{64})", Handler.lfs_put),
    ("GET HEAD", rf"/{REPO}/resolve/[^/]+/(.+)", Handler.resolve),
]


@contextlib.contextmanager
def hub_server() -> Iterator[HubServer]:
    """A server in a thread, gone at the end of the block."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

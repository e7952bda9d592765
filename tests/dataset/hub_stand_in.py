"""A local stand-in for the part of the Hugging Face Hub's HTTP interface that reading a dataset uses.

`serve(files)` answers for datasets by name, each with its files. Names that end in `-gated` or `-private` answer as the
Hub does for those: only with TOKEN. A file whose name begins with `slow` is sent with a pause after its first half.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_this_test"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
Files = Mapping[str, Mapping[str, bytes]]  # dataset -> file -> content


@contextmanager
def serve(datasets: Files, go_on: threading.Event | None = None) -> Iterator[tuple[str, list[str]]]:
    """The stand-in's address, and the paths that were asked for; `go_on` lets slow files be sent to their end."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(datasets, asked, go_on or threading.Event()))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def environment(address: str, home: str) -> dict[str, str]:
    """What a process needs to take the stand-in for the Hub, with an empty cache."""
    return {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": home, "HF_DATASETS_OFFLINE": "0", "HF_TOKEN": "",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def _handler(datasets: Files, asked: list[str], go_on: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(f"{self.command} {self.path}")
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
                return self._allowed(parts[2:4]) and self._api("/".join(parts[2:4]), parts[4:])
            if parts[0] == "datasets" and len(parts) > 5 and parts[3] == "resolve":
                if parts[4] not in ("main", COMMIT) and "/".join(parts[1:3]) in datasets:
                    return self._json({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
                return self._allowed(parts[1:3]) and self._file("/".join(parts[1:3]), "/".join(parts[5:]))
            self._json({"error": "not found"}, 404, X_Error_Code="EntryNotFound")

        do_HEAD = do_POST = do_GET

        def _allowed(self, name: list[str]) -> bool:
            repo = "/".join(name)
            if repo not in datasets or (repo.endswith("-private") and not self._has_token()):
                self._json({"error": "Repository not found"}, 401 if repo in datasets else 404,
                           X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
                return False
            if repo.endswith("-gated") and not self._has_token() and "resolve" in self.path:
                words = f"Access to dataset {repo} is restricted. You must be authenticated to access it."
                self._json({"error": words}, 401, X_Error_Code="GatedRepo", X_Error_Message=words)
                return False
            return True

        def _has_token(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def _api(self, repo: str, rest: list[str]) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            files = datasets[repo]
            listed = [{"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                      for n, c in files.items()]
            if rest[:1] == ["tree"]:
                return self._json([f for f in listed if f["path"].startswith("/".join(rest[2:]))])
            if rest[:1] == ["paths-info"]:
                return self._json(listed)
            if rest and rest[0] != "revision":
                return self._json({"error": "not found"}, 404, X_Error_Code="EntryNotFound")
            if rest and rest[1] not in ("main", COMMIT):
                return self._json({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
            self._json({"id": repo, "sha": COMMIT, "private": False, "disabled": False, "tags": [], "downloads": 0,
                        "gated": "auto" if repo.endswith("-gated") else False, "likes": 0,
                        "siblings": [{"rfilename": n} for n in files]})

        def _file(self, repo: str, name: str) -> None:
            content = datasets[repo].get(name)
            if content is None:
                return self._json({"error": "not found"}, 404, X_Error_Code="EntryNotFound")
            first, last = 0, len(content) - 1
            if wanted := self.headers.get("Range"):
                low, _, high = wanted.removeprefix("bytes=").partition("-")
                first, last = int(low), min(int(high or last), last)
            self.send_response(206 if wanted else 200)
            for key, value in {"Content-Length": last - first + 1, "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                               "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes",
                               "Content-Range": f"bytes {first}-{last}/{len(content)}"}.items():
                self.send_header(key, str(value))
            self.end_headers()
            with suppress(BrokenPipeError):  # the reader went away
                self._send(content, first, last, name.startswith("slow"))

        def _send(self, content: bytes, first: int, last: int, slowly: bool) -> None:
            if self.command != "HEAD":
                middle = max(first, len(content) // 2) if slowly else last + 1
                self.wfile.write(content[first : min(middle, last + 1)])
                if middle <= last:
                    self.wfile.flush()
                    go_on.wait(60)
                    self.wfile.write(content[middle : last + 1])

        def _json(self, body: Any, status: int = 200, **headers: str) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    return Handler

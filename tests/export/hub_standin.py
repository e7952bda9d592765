"""A local stand-in for the Hub's HTTP interface: repositories, uploads by LFS and Xet, commits."""

import hashlib
import json
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """What the stand-in holds: repositories with their files, and what was asked of it. `fail` breaks uploads."""

    def __init__(self):
        self.repos: dict[str, dict[str, dict]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.puts: list[str] = []
        self.tokens: set[str] = set()
        self.fail_puts = 0
        self.xorbs: dict[str, int] = {}  # Xet: blocks of chunks, with their sizes
        self.shards = 0  # Xet: descriptions of files in terms of such blocks
        self.fail_shards = 0
        self.asked: list[str] = []
        self.status = 0  # answer everything with this


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, body, status=200, **headers):
            data = json.dumps(body).encode()
            self.send_response(status)
            always = {"Content-Type": "application/json", "Content-Length": str(len(data))}
            for name, value in (always | headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def body(self):
            if self.headers.get("Transfer-Encoding") == "chunked":
                out = b""
                while size := int(self.rfile.readline(), 16):
                    out += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return out
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self):
            self.note()
            if "/xet-write-token/" in self.path:
                here = f"http://{self.headers['Host']}/cas"
                expires = int(time.time()) + 3600
                return self.answer({"casUrl": here, "accessToken": "xet", "exp": expires}, X_Xet_Cas_Url=here,
                                   X_Xet_Access_Token="xet", X_Xet_Token_Expiration=str(expires))
            if self.path.startswith("/cas/"):
                return self.answer({}, 404)  # no chunk is known from elsewhere
            repo = "/".join(self.path.split("/")[3:5])
            if hub.status:
                return self.answer({"error": "no"}, hub.status)
            if repo not in hub.repos:
                return self.answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")
            self.answer([{"type": "file", "path": name, **entry} for name, entry in hub.repos[repo].items()])

        def do_POST(self):
            self.note()
            raw = self.body()
            if hub.status:
                return self.answer({"error": "no"}, hub.status)
            parts = self.path.split("/")
            if self.path.startswith("/cas/"):
                return self.xet(parts, raw)
            if self.path == "/api/repos/create":
                asked = json.loads(raw)
                repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
                hub.repos.setdefault(repo, {})
                hub.private[repo] = asked.get("visibility") == "private" or asked.get("private") is True
                return self.answer({"url": f"http://{self.headers['Host']}/{repo}", "name": repo})
            if self.path == "/api/validate-yaml":
                return self.answer({"errors": [], "warnings": []})
            if "preupload" in parts:
                files = json.loads(raw)["files"]
                return self.answer({"files": [
                    {"path": f["path"], "shouldIgnore": False,
                     "uploadMode": "lfs" if f["path"].endswith((".safetensors", ".gguf")) else "regular"}
                    for f in files]})
            if self.path.endswith("/objects/batch"):
                objects = [{"oid": o["oid"], "size": o["size"], "actions": {} if o["oid"] in hub.large else {
                    "upload": {"href": f"http://{self.headers['Host']}/put/{o['oid']}"}}}
                    for o in json.loads(raw)["objects"]]
                return self.answer({"transfer": "basic", "objects": objects})
            if "commit" in parts:
                return self.commit("/".join(parts[3:5]), raw)
            self.answer({}, 404)

        def xet(self, parts, raw):
            """https://huggingface.co/docs/xet: a xorb is stored once, then a shard makes files of xorbs."""
            if "xorbs" in parts:
                new = parts[-1] not in hub.xorbs
                hub.xorbs[parts[-1]] = len(raw)
                return self.answer({"was_inserted": new})
            if parts[2:] == ["v1", "shards"]:  # v2 would stream its progress; without it the client takes v1
                if hub.fail_shards:
                    hub.fail_shards -= 1
                    return self.answer({"error": "broken"}, 400)
                hub.shards += 1
                return self.answer({"result": 1})
            self.answer({}, 404)

        def do_PUT(self):
            data = self.body()
            if hub.fail_puts:
                hub.fail_puts -= 1
                self.close_connection = True
                return self.answer({"error": "broken"}, 400)
            hub.large[hashlib.sha256(data).hexdigest()] = data
            hub.puts.append(self.path)
            self.answer({})

        def commit(self, repo, raw):
            names = []
            for line in raw.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    data = b64decode(value["content"])
                    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                    hub.repos[repo][value["path"]] = {"size": len(data), "oid": oid, "text": data.decode()}
                elif entry["key"] == "lfsFile":
                    lfs = {"oid": value["oid"], "size": value["size"], "pointerSize": 100}
                    hub.repos[repo][value["path"]] = {"size": value["size"], "oid": "0", "lfs": lfs}
                else:
                    continue
                names.append(value["path"])
            hub.commits.append(names)
            url = f"http://{self.headers['Host']}/{repo}/commit/1"
            self.answer({"success": True, "commitUrl": url, "commitOid": "1", "hookOutput": ""})

        def note(self):
            hub.tokens.add(self.headers.get("Authorization", ""))
            hub.asked.append(f"{self.command} {self.path}")

    return Handler


@contextmanager
def serving() -> "Iterator[tuple[Hub, str]]":
    """A stand-in and its address."""
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

"""A small stand-in for the Hugging Face Hub on the loopback, enough of it for the real clients to load from.

Serves the files below ``root/datasets/OWNER/NAME`` and ``root/models/OWNER/NAME``, each repository at one commit.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_API = r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(/.*)?)?"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    root: Path

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(None)

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes | None) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(
            r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(/.*)?)?", path
        ):
            kind, name, what, revision, below = match.groups()
            self._api(self.root / kind / name, what or "revision", revision or "main", (below or "/").strip("/"), body)
        elif match := re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            kind, name, revision, file = match.groups()
            self._file(self.root / (kind or "models") / name, revision, file)
        else:
            self._error("RepoNotFound")

    def _api(self, folder: Path, what: str, revision: str, below: str, body: bytes | None) -> None:
        if not folder.is_dir():
            return self._error("RepoNotFound")
        if revision not in ("main", COMMIT):
            return self._error("RevisionNotFound")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if what == "revision":
            siblings = [{"rfilename": str(path.relative_to(folder))} for path in files]
            name = str(folder.relative_to(folder.parents[1]))
            return self._send(json.dumps({"id": name, "sha": COMMIT, "siblings": siblings, "private": False}).encode())
        if what == "paths-info":
            asked = json.loads(body or b"{}")["paths"]
            found = [folder / path for path in asked if (folder / path).exists()]
        else:
            found = [path for path in sorted((folder / below).rglob("*"))] if (folder / below).is_dir() else None
            if found is None:
                return self._error("EntryNotFound")
        return self._send(json.dumps([self._entry(path, folder) for path in found]).encode())

    @staticmethod
    def _entry(path: Path, folder: Path) -> dict:
        name = str(path.relative_to(folder))
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest()}
        data = path.read_bytes()
        return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def _file(self, folder: Path, revision: str, file: str) -> None:
        if not folder.is_dir():
            return self._error("RepoNotFound")
        if revision not in ("main", COMMIT):
            return self._error("RevisionNotFound")
        path = folder / file
        if not path.is_file():
            return self._error("EntryNotFound")
        data = path.read_bytes()
        return self._send(data, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def _send(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        start, status = 0, 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(match[1]), int(match[2] or len(data) - 1)
            total, data, status = len(data), data[start : end + 1], 206
        self.send_response(status)
        for key, value in (headers or {"Content-Type": "application/json"}).items():
            self.send_header(key, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{total}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve the repositories below ``root``; yields the address for HF_ENDPOINT."""
    handler = type("Handler", (_Handler,), {"root": root})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A trained run to the Hub and back: ``push_to_hub`` by the real client, against the small server on the loopback."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from helpers.hub_server import COMMIT, _Handler

SCRIPT = """
import sys
import torch
import ltp
from transformers import AutoModelForSequenceClassification, AutoTokenizer

run, name = sys.argv[1:]
model = AutoModelForSequenceClassification.from_pretrained(run).eval()
tokenizer = AutoTokenizer.from_pretrained(run)
model.push_to_hub(name)
tokenizer.push_to_hub(name)
again = AutoModelForSequenceClassification.from_pretrained(name).eval()
inputs = AutoTokenizer.from_pretrained(name)(["a fine film", "a very dull plot"], padding=True, return_tensors="pt")
inputs.pop("token_type_ids", None)
with torch.no_grad():
    assert torch.equal(model(**inputs).logits, again(**inputs).logits)
assert torch.equal(model.thresholds(), again.thresholds())
print("SAME", type(again).__name__)
"""


class _Writable(_Handler):
    """The server's read-only Hub, and what a push asks for: a repository, where files may go, a commit of them."""

    def _address(self, name: str) -> str:
        return f"http://{self.headers['Host']}/{name}"

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        if not path.startswith(("/api/repos/create", "/api/models/", "/api/validate-yaml")):
            return super().do_POST()
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            (self.root / "models" / name).mkdir(parents=True, exist_ok=True)
            return self._send(json.dumps({"url": self._address(name), "name": name}).encode())
        if path == "/api/validate-yaml":
            return self._send(b'{"errors": [], "warnings": []}')
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._send(json.dumps({"files": files}).encode())
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    file = self.root / "models" / match[1] / entry["value"]["path"]
                    file.write_bytes(base64.b64decode(entry["value"]["content"]))
            return self._send(
                json.dumps({"commitUrl": f"{self._address(match[1])}/commit/{COMMIT}", "commitOid": COMMIT}).encode()
            )
        return self._answer(body)


@pytest.fixture
def hub(tmp_path):
    handler = type("Handler", (_Writable,), {"root": tmp_path / "hub"})
    (tmp_path / "hub/models").mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_run_goes_to_the_hub_and_comes_back_the_same(hub, tiny_study, tmp_path):
    from ltp.settings.training import TrainingSettings
    from ltp.training.stage import Stage
    from ltp.training.stages import train

    settings = TrainingSettings(temperature=0.02, lambda_=0.1, learning_rate=1e-3, batch_size=16)
    train(Stage("soft", "ltp", str(tiny_study.converted), tiny_study.data, tmp_path / "run", settings))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_made_up"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), "me/pruned"],
        env=environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert "SAME LTPForSequenceClassification" in done.stdout, done.stderr[-3000:]
    pushed = tmp_path / "hub/models/me/pruned"
    assert json.loads((pushed / "config.json").read_text())["model_type"] == "ltp"
    assert (pushed / "model.safetensors").read_bytes() == (tmp_path / "run/model.safetensors").read_bytes()

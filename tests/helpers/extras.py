"""Which optional packages are installed here."""

from __future__ import annotations

import importlib.util

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))

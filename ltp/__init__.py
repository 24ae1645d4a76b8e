"""Learned token pruning (Kim et al., KDD 2022): importing this package teaches transformers the ``ltp`` model type.

The registration waits until transformers itself is imported, so tables, plots and grids stay fast.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys

__version__ = "0.1.0"
__all__ = ["__version__", "prune"]


def __getattr__(name):
    if name == "prune":  # imports torch, transformers and more: only for who asks for it
        return importlib.import_module("ltp.oneshot.prune").prune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _AfterTransformers(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Runs the registration right after ``import transformers`` has finished, then steps aside."""

    def find_spec(self, name, path=None, target=None):
        if name != "transformers":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        importlib.import_module("ltp.models.heads")  # registers all models, at the end of its import


if "transformers" in sys.modules:
    importlib.import_module("ltp.models.heads")
else:
    sys.meta_path.insert(0, _AfterTransformers())

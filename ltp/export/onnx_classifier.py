"""An exported ONNX file in the place of a classifier in PyTorch, for libraries that call one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from ltp.export.session import run_session, session
from ltp.models.embedding import require_tokens


class OnnxClassifier(nn.Module):
    """Runs an ONNX file of ``ltp export`` on the CPU, called as the model that it was made from.

    It has that model's ``config``; ``threads`` 0 leaves their number to ONNX Runtime.
    """

    def __init__(self, path: str | Path, config: PreTrainedConfig, threads: int = 0) -> None:
        super().__init__()
        self.config, self.session = config, session(path, threads)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None,
        return_dict: Any = None,
    ) -> SequenceClassifierOutput:  # fmt: skip
        """Padded sentences (B, N) -> an output with ``logits`` (B, C).

        Raises LTPError for a sentence without a real token, which the file does not notice.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        require_tokens(mask.sum(1))
        batch = {"input_ids": input_ids.cpu(), "attention_mask": mask.cpu()}
        if token_type_ids is not None:
            batch["token_type_ids"] = token_type_ids.cpu()
        (logits,) = run_session(self.session, batch, ["logits"])
        return SequenceClassifierOutput(logits=torch.from_numpy(logits))

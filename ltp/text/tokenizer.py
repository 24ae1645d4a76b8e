"""The tokenizer of a model: loading it, and telling whether two of them give the same tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.io import canonical_sha256, first_line
from ltp.results.checkpoint import positions, read_config, require_tokenizer
from ltp.results.dataset import TOKENIZER, longest
from ltp.results.manifest import METRICS
from ltp.results.run import read_metrics


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a checkpoint. Raises LTPError where there is none, or none that can be read."""
    from transformers import AutoTokenizer

    require_tokenizer(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a broken tokenizer.json raises whatever its parser raises
        raise LTPError(f"{folder}: tokenizer not readable ({first_line(error)}); save it there again") from None
    if not tokenizer.is_fast:
        raise LTPError(f"{folder}: has only a slow tokenizer; save a fast one (tokenizer.json) beside it")
    return tokenizer


def tokenizer_sha256(tokenizer: Any) -> str:
    """The checksum of a fast tokenizer: of its vocabulary and all of its steps, but not of the length it cuts at."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return canonical_sha256({key: value for key, value in content.items() if key not in ("truncation", "padding")})


def check_tokenizer(checkpoint: str | Path, data: str | Path, info: Mapping[str, Any]) -> str:
    """Check that prepared data hold the tokens which a checkpoint reads; returns the tokenizer's checksum.

    ``info`` is what the data's task.json says. Checksums are those on record; where the data or the checkpoint have
    none (an encoder, a conversion), those of both tokenizers as they load. Raises LTPError where they differ, and where
    the data hold longer texts than the model has positions for.
    """
    checkpoint = Path(checkpoint)
    made_with = info.get("tokenizer_sha256")
    own = read_metrics(checkpoint).get("tokenizer_sha256") if (checkpoint / METRICS).is_file() else None
    if not (made_with and own):
        own, made_with = (tokenizer_sha256(load_tokenizer(path)) for path in (checkpoint, Path(data, TOKENIZER)))
    if own != made_with:
        raise LTPError(
            f"{checkpoint}: its tokenizer is not the one that made {data} (that of {info['model']}), so it would read "
            f"other words; make data for it with `ltp data --model={checkpoint}`"
        )
    limit = positions(read_config(checkpoint))
    if longest(info) > limit:
        raise LTPError(
            f"{checkpoint}: takes {limit} tokens, the texts in {data} have up to {longest(info)}; make data for "
            f"it with `ltp data --model={checkpoint} --max-length={limit}`"
        )
    return made_with

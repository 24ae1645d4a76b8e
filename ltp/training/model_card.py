"""The model card of a run: what it is, what it scores and costs, how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ltp.common.names import METHOD_PHRASES


def model_card(metrics: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """README.md of a run directory, as the Hugging Face Hub reads it."""
    split = "test" if "test" in metrics["metrics"] else "validation"
    primary, cost = metrics["primary_metric"], metrics["flops"][split]
    shown = [name for name in metrics["metrics"] if name.startswith(split)]  # MNLI: test, test_mismatched
    rows = {name: [f"{metrics['metrics'][each][name]:.4f}" for each in shown] for name in metrics["metrics"][split]}
    scores = "\n".join(f"| {name} | {' | '.join(row)} |" for name, row in rows.items())
    settings = "\n".join(f"| {key} | {value} |" for key, value in sorted(metrics["settings"].items()))
    load = "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
    if metrics["stage"] != "base":
        load = "import ltp  # pip install learned-token-pruning; teaches transformers the pruning model\n" + load
    return f"""{front_matter(metrics["model"])}
# {metrics["model"]} on {metrics["task"]}: {METHOD_PHRASES[metrics["method"]]}, {metrics["stage"]} stage

{primary} {metrics["metrics"][split][primary]:.4f} on {metrics["examples"][split]} {split} examples at \
{cost["gflops"]:.4f} GFLOPs a sentence, {100 * cost["relative"]:.1f} % of the unpruned model's. \
Seed {metrics["seed"]}; {info["selection_note"]}.

```python
{load}
model = AutoModelForSequenceClassification.from_pretrained("path/to/this/directory")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/directory")
```

| | {" | ".join(shown)} |
|---|{"---|" * len(shown)}
{scores}

| setting | value |
|---|---|
{settings}
"""


def front_matter(base_model: str) -> str:
    """What the Hub reads of a card: the library, the task, and the model that this one was made from."""
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["token-pruning", "ltp"],
        "base_model": base_model,
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False).strip()}\n---"

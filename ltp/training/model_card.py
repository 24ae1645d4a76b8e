"""The model card of a run: what it is, what it scores and costs, how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ltp.common.names import METHOD_PHRASES
from ltp.settings.pruning import head_for

# What a model ends in → what the Hub calls its use.
PIPELINE_TAGS = {
    "SequenceClassification": "text-classification",
    "TokenClassification": "token-classification",
    "QuestionAnswering": "question-answering",
}


def model_card(metrics: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """README.md of a run directory, as the Hugging Face Hub reads it."""
    split = "test" if "test" in metrics["metrics"] else "validation"
    ends_in = head_for(info["kind"])
    primary, cost = metrics["primary_metric"], metrics["flops"][split]
    shown = [name for name in metrics["metrics"] if name.startswith(split)]  # MNLI: test, test_mismatched
    rows = {name: [f"{metrics['metrics'][each][name]:.4f}" for each in shown] for name in metrics["metrics"][split]}
    scores = "\n".join(f"| {name} | {' | '.join(row)} |" for name, row in rows.items())
    settings = "\n".join(f"| {key} | {value} |" for key, value in sorted(metrics["settings"].items()))
    load = f"from transformers import AutoModelFor{ends_in}, AutoTokenizer\n"
    if metrics["stage"] != "base":
        load = "import ltp  # pip install learned-token-pruning; teaches transformers the pruning model\n" + load
    return f"""{front_matter(metrics["model"], ends_in)}
# {metrics["model"]} on {metrics["task"]}: {METHOD_PHRASES[metrics["method"]]}, {metrics["stage"]} stage

{primary} {metrics["metrics"][split][primary]:.4f} on {metrics["examples"][split]} {split} examples at \
{cost["gflops"]:.4f} GFLOPs a sentence, {100 * cost["relative"]:.1f} % of the unpruned model's. \
Seed {metrics["seed"]}; {info["selection_note"]}.

```python
{load}
model = AutoModelFor{ends_in}.from_pretrained("path/to/this/directory")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/directory")
```

| | {" | ".join(shown)} |
|---|{"---|" * len(shown)}
{scores}

| setting | value |
|---|---|
{settings}
"""


def front_matter(base_model: str, head: str = "SequenceClassification") -> str:
    """What the Hub reads of a card: the library, the kind of model, and the model that this one was made from."""
    content = {
        "library_name": "transformers",
        "pipeline_tag": PIPELINE_TAGS[head],
        "tags": ["token-pruning", "ltp"],
        "base_model": base_model,
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False).strip()}\n---"

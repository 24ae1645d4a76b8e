"""The encoder that drops tokens: attention, importance scores, pruning rules, packing, FLOPs.

Imports results, settings, common; knows nothing of Trainer, command line or Snakemake.
"""

import transformers  # noqa: F401  first of all: its import ends with that of our models (ltp/__init__.py)

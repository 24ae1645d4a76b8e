"""The encoder that drops tokens: attention, importance scores, pruning rules, packing, FLOPs.

Imports results, settings, common; knows nothing of Trainer, command line or Snakemake.
"""

import transformers  # noqa: F401 - first: the end of its import imports the models, which may not be half-way then

"""The encoder that drops tokens: attention, importance scores, pruning rules, packing, FLOPs.

Imports results, settings, common; knows nothing of Trainer, command line or Snakemake.
"""

# First of all: its import ends with the registration of our models (see ltp/__init__.py), which would otherwise run in
# the middle of the import of the module that happens to need it first.
import transformers  # noqa: F401

"""The encoder that drops tokens: attention, importance scores, pruning rules, packing, FLOPs.

Imports results, settings, common; knows nothing of Trainer, command line or Snakemake.
"""

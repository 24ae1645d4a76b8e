"""A fine-tuned checkpoint, or one of the original LTP, made ready to prune.

Imports results, settings, common; never torch.
"""

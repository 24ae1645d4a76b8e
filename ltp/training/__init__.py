"""One stage from checkpoint to run directory: Trainer, loss, evaluation, model card.

Imports models, text, conversion and below.
"""

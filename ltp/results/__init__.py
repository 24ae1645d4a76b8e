"""The folders that a study leaves: how runs, conversions, data and models are written, read and verified.

Imports common and settings; never torch.
"""

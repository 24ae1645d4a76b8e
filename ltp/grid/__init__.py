"""A study's grid: its schema, the runs that it plans, what they cost, how far they are.

Imports results, settings, common; never torch.
"""

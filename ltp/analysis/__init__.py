"""Runs → settings, frontier, operating points, intervals, tables.

Imports results, settings, common; never torch.
"""

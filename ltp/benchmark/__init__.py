"""Ways to run a model, timed against each other.

Imports export, analysis, models, text and below.
"""

"""Errors, files, locks, names: what every package may use.

Imports none of the others.
"""

"""Labelled text from packages, files and the Hub, checked, split and tokenised.

Imports results, settings, common.
"""

"""The settings of tasks, data, pruning and training, each described and checked in one place.

Imports common.
"""

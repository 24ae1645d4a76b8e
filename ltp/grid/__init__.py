"""Grid.yaml: its schema, the runs it asks for, what they cost, how far they are.

Imports results, settings, common; never torch.
"""

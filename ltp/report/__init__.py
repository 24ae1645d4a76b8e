"""Tables → figures, page and sentences.

Imports analysis and below; never torch.
"""

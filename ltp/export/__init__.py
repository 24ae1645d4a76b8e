"""A trained model as plain checkpoint, ONNX file, or ONNX in 8 bits.

Imports training, models, text and below.
"""

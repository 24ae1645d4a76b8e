"""One call: a fine-tuned classifier and unlabelled text in, a pruned model and a report out.

Imports benchmark, training, report and below.
"""

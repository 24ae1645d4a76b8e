"""The command line: one module a command, each with EXAMPLE, add_arguments(parser) and run(arguments).

May import everything; nothing imports it.
"""

# Command, also the module's name -> what `ltp --help` says of it. The module is imported only when it is called.
COMMANDS = {
    "init": "start a study in a new folder: Snakefile, workflow, configs",
    "prune": "a fine-tuned model and your text in, the same answers at a share of the FLOPs out",
    "plan": "what a grid will cost before it starts",
    "data": "read, split and tokenise a task's text",
    "convert": "turn a fine-tuned model into one that prunes",
    "train": "train one stage: base, soft or hard",
    "evaluate": "score a saved model with pruning, and count its FLOPs",
    "progress": "how far a running study is",
    "tables": "the runs of a study -> its tables: runs, frontier, summary, matched (CSV)",
    "plots": "tables -> figures",
    "explain": "which words a model drops, and at which layer",
    "report": "tables and example sentences -> index.html",
    "export": "a model as plain checkpoint, ONNX file, or ONNX in 8 bits",
    "benchmark": "time a pruned model against every unpruned way to run it",
    "verify": "check every file of a study's results against its checksum",
}

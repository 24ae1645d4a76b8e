"""The command line: one module a command, each with add_arguments and run.

May import everything; nothing imports it.
"""

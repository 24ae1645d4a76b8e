"""One module a command, for those that do not live beside what they call."""

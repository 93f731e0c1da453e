"""A distillation in one call from Python: what the command line does, with what is in memory as its data."""

"""How a student is trained: the trainer, what it refuses before the first step, and what it writes.

Nothing heavy is imported here; take what you need from the modules.
"""

"""What a run tells its user: scores, fidelity to the teacher, cost, the side-by-side table and the model card.

Nothing heavy is imported here; take what you need from the modules.
"""

"""Relation-based knowledge: losses on how examples, tokens or layers lie to one another."""

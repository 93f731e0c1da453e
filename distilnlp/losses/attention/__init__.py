"""Feature-based knowledge: losses on attention, from queries, keys and values."""

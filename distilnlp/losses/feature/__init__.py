"""Feature-based knowledge: losses on hidden states, layer by layer."""

"""Response-based knowledge: losses on the answers, that is the logits."""

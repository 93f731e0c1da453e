"""Feature-based knowledge without a fixed layer map: which layers match is found, weighted or drawn."""

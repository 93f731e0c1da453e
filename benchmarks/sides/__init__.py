"""The sides of `benchmarks.throughput`: each trains the same student in a process of its own."""

"""How well and at what cost: scores, operation counts, latencies. Imports nothing of the other rooms but core."""

"""Training: losses, weightings, times, averages, optimisers, data and the loop."""

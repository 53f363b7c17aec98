"""The way down: one loop by gradients, one by L-BFGS, what each step is scored by, and a search that goes on from a file."""

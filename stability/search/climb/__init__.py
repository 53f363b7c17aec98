"""The climb over (rate, metric, multipliers) of the joint inequality: on dense matrices, and by layers."""

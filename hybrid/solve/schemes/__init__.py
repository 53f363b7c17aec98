"""How one step is put together: the scheme of stages, the exponential one, their numbers and functions."""

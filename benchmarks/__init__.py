"""Measured claims: one script per claim, ours and the peers side by side."""

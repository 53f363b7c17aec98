"""The problems that are raced, ours and the peers on them, and the reference that both are compared with."""

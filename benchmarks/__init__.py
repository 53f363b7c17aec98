"""Measured claims: one script per claim, ours and the peers side by side."""

import os

# Threads that spin at a barrier wait for one that another program has pushed off its core: on a busy machine that made
# two threads of torch up to a hundred times slower than one. Sleeping threads cost a few µs. Before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

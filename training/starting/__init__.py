"""Where a fit starts: typical values that the data suggest, and many starts side by side."""

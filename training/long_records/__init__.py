"""Long records in windows that are simulated side by side, and the fit that joins them."""

"""What is said of a fit: its curves while it runs, whether it has arrived, and what lies at an end of its range."""

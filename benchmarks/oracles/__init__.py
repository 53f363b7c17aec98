"""Judges that share no code with the checker, and the mutations that they judge."""

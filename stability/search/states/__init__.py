"""What states that exist say: Jacobians there, what they exclude, and the search for one that breaks a claim."""

"""Curves between which trajectories stay, with doses and without: the search for them."""

"""What holds in a box or an ellipsoid: enclosures over cells, slopes, contraction, and that trajectories stay."""

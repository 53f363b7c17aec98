"""What leaves as a bundle, a header, an FMU, a graph or a torch program, held against what was trained, for random bundles."""

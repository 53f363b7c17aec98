"""C-peptide after a glucose drink: known kinetics, a learned secretion, and what it is judged by."""

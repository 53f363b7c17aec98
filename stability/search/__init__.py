"""Everything that looks for a certificate, a bound or a counterexample; what it finds is proved by `stability.proof`."""

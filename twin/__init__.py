"""What runs: a model in step with its patients, as their data arrive, late, twice, corrected or withdrawn."""

from homeostat_siblings import require_siblings

# before the first of them is imported
require_siblings("twin", ("physics", "learned", "hybrid", "stability", "training", "exchange"))

__all__: list[str] = []

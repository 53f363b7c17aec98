"""`python -m stability.proof FILE`: the checker on the command line."""

import sys

from stability.proof.command import main

sys.exit(main())

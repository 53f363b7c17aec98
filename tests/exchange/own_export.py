"""A form of one's own in which a bundle is exported, as docs/extend.md shows it."""

import json
import os
from dataclasses import dataclass
from typing import ClassVar

from exchange import Bundle, Export, Selection, Written, selected
from exchange.export import claimed, target_of
from exchange.files.whole_file import whole_file
from exchange.selection import TYPICAL


@dataclass(frozen=True)
class Matrices(Export):
    """What is linear of it, A(θ) and B(θ) of every chosen member, as JSON, for a reader who has nothing else."""

    name: ClassVar[str] = "matrices"
    suffix: ClassVar[str] = ".json"
    selection: Selection = TYPICAL
    replace: bool = False

    def write(self, bundle: Bundle, path: str | os.PathLike[str]) -> Written:
        target = target_of(self, path, "Matrices.write")
        found = selected(bundle, self.selection)
        A, B = found.model.backbone.matrices(found.theta)  # (M, n, n), (M, n, m)
        said = claimed(bundle)
        with whole_file(target) as partial:
            partial.write_text(json.dumps({"A": A.tolist(), "B": B.tolist(), "claims": said}))
        return Written(target, tuple(sentence for sentence in said if not sentence.startswith("claimed")))

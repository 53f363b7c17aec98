"""The bundle as programs of torch: `torch.export.load`, and nothing of ours, runs and differentiates them."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from exchange.bundle.bundle import Bundle
from exchange.export import Export, Written
from exchange.selection import TYPICAL, Selection, selected
from exchange.torch_program.carried import carried, described, said_of
from exchange.torch_program.programs import FUNCTIONS, Precision, programs_of
from exchange.torch_program.several import targets_of, write_all
from physics.arguments import require_choice, require_flag, require_kind

ENDS = {"proof": "json", "people": "json", "calibration": "json", "card": "md"}  # of what is carried; the rest is text


@dataclass(frozen=True)
class TorchProgram(Export):
    """Programs of `torch.export` beside each other: model.pt2 becomes model.field.pt2, model.jacobian.pt2, model.step.pt2,
    model.observe.pt2 and model.person.pt2.

    Each works on a batch of any length and takes its tensors by name: `torch.export.load(path).module()(x=x, theta=theta, …)`,
    in a process that has torch and nothing else; gradients flow through it. Claims with their proof, calibration, names, units
    and card ride in `extra_files`.
    `selection`, which members, and whose θ, c and start are given · `precision` of all its numbers · `replace` files that are
    there.
    Laws: equal bundles give equal bytes; what is computed is what the bundle's model computes, to rounding.
    """

    name: ClassVar[str] = "torch"
    suffix: ClassVar[str] = ".pt2"
    selection: Selection = TYPICAL
    precision: Precision = "float64"
    replace: bool = False

    def __post_init__(self) -> None:
        require_kind(self.selection, Selection, "TorchProgram: selection", "Selection()")
        require_choice(self.precision, ("float64", "float32"), "TorchProgram: precision")
        require_flag(self.replace, "TorchProgram: replace")

    def write(self, bundle: Bundle, path: str | os.PathLike[str]) -> Written:
        """Write the programs; all of them appear, or none. Returns the path of the field.

        Errors: `ValueError` for a part that `torch.export` cannot trace, by its name, and for a target that exists.
        """
        require_kind(bundle, Bundle, "TorchProgram.write: bundle", 'load("model.twin")')
        targets = targets_of(self, path, FUNCTIONS, "TorchProgram.write")
        chosen = selected(bundle, self.selection)
        programs = programs_of(chosen, self.precision)
        common = carried(bundle, chosen)

        def put(name: str, partial: Path) -> None:
            texts = {f"homeostat/{one}.{ENDS.get(one, 'txt')}": text for one, text in common.items()}
            texts["homeostat/model.json"] = described(bundle, chosen, programs[name], name, self.precision)
            with warnings.catch_warnings(), open(partial, "wb") as file:
                warnings.simplefilter("ignore")  # of a name that does not end in .pt2, and of torch's own insides
                torch.export.save(programs[name].exported, file, extra_files=dict(sorted(texts.items())))

        files, beside = write_all(targets, programs, put)
        return Written(files[0], (*beside, *said_of(bundle, chosen)), files)

"""Several residuals as one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learned.joints import Joins, Joint, require_joined
from learned.residual import LayeredResidual, Layers
from learned.seen_theta import SeenTheta
from learned.sizes import generator_of, shown, tensor_of


class SumOfResiduals(LayeredResidual):
    """ε = Σ ε_k(x, u, c): each with the states, inputs and θ that it sees, and the states that it acts on.

        SumOfResiduals([MLP(hidden=(4,), sees_states=("gut",), acts_on=("plasma",)), MLP(hidden=(8,), acts_on=("liver",))])

    Layers of all terms stand side by side, as one network whose weights are 0 between them: what is proved, exported and saved is
    that network. So the terms have layers, as many hidden ones each, and one activation.
    Arguments: `terms`, two or more residuals for the same states, inputs and covariates (or with sizes left to the model).
    With terms of which some vanish at the origin and some do not, those that vanish must see neither c nor θ: their values there
    are then constants.
    Trainable: what the terms train. Errors: `ValueError` for terms that do not go together.
    Laws: `forward` is the sum of the terms'; what a term alone does not see or act on, the sum does for the others alone.
    """

    def __init__(self, terms: Sequence[LayeredResidual]) -> None:
        super().__init__()
        if isinstance(terms, str | bytes | nn.Module) or not isinstance(terms, Sequence) or len(terms) < 2:
            raise ValueError(f"SumOfResiduals: terms are two residuals or more in a list, and got {shown(terms)}")
        for one in terms:
            if not isinstance(one, LayeredResidual) or one.vanishes:
                raise ValueError(
                    "SumOfResiduals: each term has layers to stand beside the others' (MLP, ContractingMLP), and one is "
                    f"{shown(one)}; leave out what is 0, and write a Residual of your own that adds what has no layers"
                )
            if one.sees_theta and one.seen_theta is None:
                raise ValueError(
                    f"SumOfResiduals: {type(one).__name__} sees θ as it is; give it `seen_theta`, so that each term's part "
                    "of c is known"
                )
        if len({id(one) for one in terms}) < len(terms):
            raise ValueError("SumOfResiduals: one residual stands in it twice; make two, or double its rate_scale")
        self.terms = nn.ModuleList(terms)
        # a term that waits for its model: so does the sum
        self._waiting = next((one for one in terms if getattr(one, "_waiting", None) is not None), None)
        self.states, self.inputs, self.covariates = terms[0].states, max(one.inputs for one in terms), terms[0].covariates
        self.vanishes_at_origin = all(one.vanishes_at_origin for one in terms)
        if self._waiting is None:
            self._require_alike(terms)

    def _require_alike(self, terms: Sequence[LayeredResidual]) -> None:
        for one in terms:
            have, need = (one.states, one.inputs, one.covariates), (self.states, self.inputs, self.covariates)
            if (have[0], have[2]) != (need[0], need[2]) or have[1] not in (0, need[1]):
                raise ValueError(
                    f"SumOfResiduals: a term is made for (states, inputs, covariates) = {have} and others for {need}; leave the "
                    "sizes to the model"
                )
        with torch.no_grad():
            layers = [one.layers() for one in terms]
        kinds = {(one.activation, len(one.weights)) for one in layers}
        if len(kinds) > 1 or any(len(one.weights) < 2 for one in layers):
            said = " and ".join(f"{depth - 1} of {activation}" for activation, depth in sorted(kinds))
            raise ValueError(
                f"SumOfResiduals: the terms have hidden layers: {said}; they are proved and exported as one network, so give all "
                "the same activation and as many hidden layers"
            )
        for one, its in zip(terms, layers, strict=True):
            if one.vanishes_at_origin and not self.vanishes_at_origin and its.covariate_weights.shape[-1]:
                raise ValueError(
                    "SumOfResiduals: one term vanishes at the origin for every c or θ that it sees, and another does not vanish; "
                    "give both the same vanishes_at_origin"
                )
        seen = [one.seen_theta for one in terms if one.seen_theta is not None]
        if seen:
            names, at, low, high = (tuple(v for s in seen for v in getattr(s, what)) for what in ("names", "at", "low", "high"))
            self.seen_theta = SeenTheta(names, at, low, high)
        self.sees_theta = self.seen_theta is not None

    @property
    def residuals(self) -> tuple[LayeredResidual, ...]:
        """The terms."""
        return tuple(one for one in self.terms if isinstance(one, LayeredResidual))

    @property
    def acts_on(self) -> tuple[int, ...]:
        """The states that any term acts on; all of them where one does not say."""
        everything = tuple(range(self.states))
        return tuple(sorted({i for one in self.residuals for i in getattr(one, "acts_on", everything)}))

    def joined(self, joint: Joint) -> "SumOfResiduals":
        """This sum for a model, with every term as that model has it."""
        if not isinstance(joint, Joint):
            raise ValueError(f"SumOfResiduals.joined: joint is a Joint, which a HybridModel makes, and got {shown(joint)}")
        found = [one.joined(joint) if isinstance(one, Joins) else one for one in self.residuals]
        return self if all(a is b for a, b in zip(found, self.residuals, strict=True)) else SumOfResiduals(found)

    def layers(self) -> Layers:
        require_joined(self._waiting, "SumOfResiduals", "the terms their sizes and positions")
        each = [one.layers() for one in self.residuals]
        first, r = each[0], self.covariates
        inputs = [_wide(one.input_weights, self.inputs) for one in each]
        own = [one.covariate_weights for one in each]
        by_theta = _diagonal([C[..., r:] for C in own])
        by_c = _stacked([C[..., :r] for C in own])
        hidden = [_diagonal([one.weights[k] for one in each]) for k in range(1, len(first.weights) - 1)]
        skips = [one.skip for one in each if one.skip is not None]
        biases = [_stacked([one.biases[k] for one in each]) for k in range(len(first.biases) - 1)]
        return Layers(
            weights=(_stacked([one.weights[0] for one in each]), *hidden, _stacked([one.weights[-1].mT for one in each]).mT),
            biases=(*biases, _summed([self._last(one) for one in each])),
            input_weights=_stacked(inputs),
            covariate_weights=torch.cat(_members(by_c, by_theta), -1),
            activation=first.activation,
            vanishes_at_origin=self.vanishes_at_origin,
            skip=_summed(skips) if skips else None,
        )

    def _last(self, layers: Layers) -> Tensor:  # (M, n)
        """The output bias; of a term that vanishes in a sum that does not, less its value at the origin."""
        if self.vanishes_at_origin or not layers.vanishes_at_origin:
            return layers.biases[-1]
        return layers.at(layers.biases[0].new_zeros(1, 1, 0)).biases()[-1][:, 0]

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        require_joined(self._waiting, "SumOfResiduals", "the terms their sizes and positions")
        tensor_of(x, "SumOfResiduals: x", "M", "N", self.states)
        return self.layers().at(c)(x, u)

    def reset(self, generator: torch.Generator) -> None:
        generator_of(generator, "SumOfResiduals.reset: generator")
        for one in self.residuals:
            one.reset(generator)

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {}  # its terms say theirs

    def config(self) -> dict[str, Any]:
        return {"terms": [{"class": type(one).__name__, "config": one.config()} for one in self.residuals]}


def _members(*tensors: Tensor) -> list[Tensor]:
    """The same with as many members each."""
    count = max(len(one) for one in tensors)
    return [one.expand(count, *one.shape[1:]) for one in tensors]


def _stacked(blocks: Sequence[Tensor]) -> Tensor:  # each (M|1, h_k, …), to (M, Σ h_k, …)
    return torch.cat(_members(*blocks), 1)


def _summed(blocks: Sequence[Tensor]) -> Tensor:
    first, *others = _members(*blocks)
    for one in others:
        first = first + one
    return first


def _diagonal(blocks: Sequence[Tensor]) -> Tensor:  # each (M|1, o_k, i_k), to (M, Σ o_k, Σ i_k)
    blocks, rows = _members(*blocks), []
    for k, block in enumerate(blocks):
        zeros = [block.new_zeros(*block.shape[:2], other.shape[2]) for other in blocks]
        rows.append(torch.cat([*zeros[:k], block, *zeros[k + 1 :]], -1))
    return torch.cat(rows, 1)


def _wide(weight: Tensor, inputs: int) -> Tensor:  # (M, h, 0|m), to (M, h, m)
    return weight if weight.shape[-1] == inputs else weight.new_zeros(*weight.shape[:2], inputs)

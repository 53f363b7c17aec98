"""What an exported model measures: of states, θ and, where the form has a place for them, inputs."""

from hybrid import Observation


def require_held(observation: Observation, form: str, *, inputs: bool = False) -> None:
    """Raise `ValueError` for an observation that reads what a form has no place for; `inputs`: whether it has one for these."""
    beside = [f"the covariate {name}" for name in observation.covariates]
    if observation.sees_inputs and not inputs:
        beside.insert(0, "inputs")
    if beside:
        raise ValueError(
            f"{form}: what this model measures depends on {' and '.join(beside)} beside states and θ, and this form has no place "
            "for that; export it with an offset by a number or a θ, and add the rest to its y"
        )

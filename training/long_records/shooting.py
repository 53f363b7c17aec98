"""Multiple shooting: long records fitted in windows whose starts are variables, joined by an augmented Lagrangian."""

import copy
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from hybrid import HybridModel, SimulationError, Solver, rollout
from hybrid.defaults import differentiating
from hybrid.threads import of_cohort, threads_by
from physics.arguments import require_choice, require_kind, require_number, require_shape, require_tensor
from physics.glance import Summary, glance
from training.fitted import Compared, Fitted
from training.long_records.encoder import Encoded, StartEncoder
from training.long_records.from_data import measured, starts_from_data
from training.long_records.in_windows import InWindows
from training.long_records.joints import Joints
from training.long_records.window import window_count, windows
from training.long_records.windowed import rollout_windows, simulated_starts, states_scale
from training.looks import Looks
from training.loop.course import Course, Stage, line_search, named
from training.loop.members_lbfgs import MembersLBFGS
from training.loop.score import Score, require_forecast
from training.machinery.distributed import Shard
from training.machinery.precision import in_bfloat16
from training.machinery.state import State
from training.machinery.together import Part
from training.objective import Objective
from training.people.arguments import require_trainable
from training.people.cohort import Cohort
from training.search import Search

LONG = 500  # segments in a row: from here on whole records are simulated through their windows


def _summary(step: Any) -> Summary:
    more = [("phase", step.phase), ("defect", step.defect), ("on what judges", step.held_out), ("learning rate", step.rate)]
    return f"ShootingStep {step.index} of {step.total}", [("loss", step.loss), *more, ("best", step.best.model)]


@dataclass(frozen=True)
class ShootingStep:
    """One step of `shoot`.

    `index` of `total` · `phase`: "shooting" in windows, then "polish" over whole records · `loss` (M,) each member's
    objective, without multipliers and penalty · `defect` (M,) the largest |end of a window − start of the next|, in the
    states' scales, of the people whom the member counts; 0 in the polish, where nothing gapes · `rate`, the learning rate; in a
    polish by L-BFGS, by how much any number moves at most · `best`, the fit to keep if training ends here · `held_out` (M,) the
    latest mean −log predictive density per measurement that judges, over whole records, NaN before the first look and where
    nothing judges, infinite where whole records could not be simulated yet · `now`, a function that copies the fit as it is
    after this step, to be called before the next one · `ended` and `compared`, as in `Step`.
    """

    index: int
    total: int
    phase: Literal["shooting", "polish"]
    loss: Tensor
    defect: Tensor
    rate: float
    best: Fitted
    held_out: Tensor
    now: Callable[[], Fitted] | None = None
    ended: tuple[str, ...] = ()
    compared: Compared | None = None

    __repr__, _repr_html_ = glance(_summary)


@threads_by(of_cohort)
def shoot(
    model: HybridModel,
    cohort: Cohort,
    objective: Objective = Objective(),
    search: Search = Search(),
    looks: Looks = Looks(),
    *,
    count: int | None = None,
    by: Literal["time", "steps"] = "time",
    personal: Tensor | None = None,  # (M, N, d)
    starts: Tensor | Literal["data"] | StartEncoder | None = None,  # (M, N, W-1, n)
    scale: Tensor | None = None,  # (n,)
    rounds: int | None = None,
    polish: int = 50,
    stiffness: float = 10.0,
    growth: float = 4.0,
) -> Generator[ShootingStep, None, None]:
    """Fit every member as `fit` does, but with the start of every window of a long record as a variable of its own.

    Over a long record the likelihood has a local minimum for about every period that a wrong frequency gains or loses:
    what the first half of a record asks for, the second denies. In windows each part is explained from its own start, and
    the parts are joined gradually. Member m minimises `fit`'s objective over weights, η and the windows' starts s, subject to
    d_w = (x(end of window w) − s_{w+1})/scale = 0, by the augmented Lagrangian: per person

        −log p(y | η, s) − log p(η) + … + Σ_w λ_w·d_w + ρ/2 Σ_w |d_w|².

    In the first third of `steps` ρ is small and λ = 0: every window finds its own. The rest are `rounds` equal parts (10, or
    `steps` if fewer); at the beginning of each, λ ← λ + ρ d, and ρ grows by `growth` for the people whose |d| has not fallen
    fourfold since the last.
    A penalty alone leaves defects of the size λ/ρ, and a ρ that makes them small makes the problem ill-conditioned for
    gradient steps; with multipliers a moderate ρ suffices. λ is also the pull of later data on the parameters, which a
    free start would swallow (Turan & Jäschke describe either).
    The noise rests for the first two thirds of `steps`: it would grow to explain what the dynamics cannot yet, and then
    nothing pulls at them any more. So start it from what the assay is known to do. At last the windows go: `polish` steps of
    single shooting begin in the basin that the windows found. Records of 500 segments or more are simulated through their windows
    there and at looks (`InWindows`: the same states, not one after the other).

    Arguments
    - `objective`: as in `fit`, all of it. What judges (`held_out`, `judged`) is simulated over whole records, without windows.
    - `search`: as in `fit`; 300 `steps` where it does not say. By default the rate falls by a cosine to 2 % over all of `steps`,
      that of the noise stays. A `schedule` of one's own is that of the windows. Gradients are clipped per member, those of the
      starts and of the noise apart from the rest, so that a stiff penalty does not silence the parameters. `polish` is by L-BFGS
      where `optimiser` is None: every member with a memory and a step of its own, one trial a step, no number moved by more than
      the rate. With an optimiser of one's own, people shared out to processes, or a tensor that members share, it is by that
      optimiser (Adam), whose rate falls from 2 % of the rate, that of the noise from the rate. `optimiser=torch.optim.LBFGS`, for
      one member, keeps its rate, is not clipped, and forgets what it knows when the multipliers change.
    - `looks`: as in `fit`. In windows a look that is better is kept, and one that is not ends nothing: `patience` (5 where it
      does not say) is for the polish.
    - `count`, `by`: how many windows, see `windows`; by default about as many as a window has segments, with four measurements
      each or more. A window of about one period, or of the time over which today's model can be trusted, and with several
      measurements in it: what a window alone does not determine, its neighbours must.
    - `personal`: η to start from, 0 by default.
    - `starts`: where the windows' states start; by default on the solution of the model as given. It has no defects, is
      in the range of the states, needs no inverse of the observations, and the data pull it their way within each window.
      Where that solution is of no use (a residual not to be trusted yet), pass `simulated_starts` of the backbone alone.
      "data": at what the measurements say, by least squares through the model as given, with the `stiffness` at the joints
      (`starts_from_data`); free numbers from there on. A `StartEncoder`, for many records without doses on the way: no free
      numbers, but one map from the measurements around a window's start, the same for all windows and records, that is trained
      along. It can promise no joints that close: ρ stays, λ is 0, and `polish` joins them.
    - `scale`: what counts as a large defect in each state; by default its root mean square over people and time on the
      solution of the model as given (people count by their weights), and 1 where that is 0.
    - `stiffness`: the first ρ, in nats: a defect of 1/√ρ of a state's scale costs half a nat.

    Yields a `ShootingStep` after every update; interrupting the loop loses nothing.
    Errors: `ValueError` for shapes and numbers that cannot be, for a model with process noise, and for a checkpoint of another
    fit; `SimulationError` that names the person.
    Law: members do not influence each other; a person with weight 0 does not influence the member; stop, save and resume
    is never stopped, bit for bit on a CPU.
    Source: Bock & Plitt, IFAC Proc. 17 (1984) 1603, multiple shooting; Turan & Jäschke, IEEE Control Syst. Lett. 6 (2022)
    1897, for neural ODEs; Nocedal & Wright (2006), framework 17.3, augmented Lagrangian; Kingma & Ba (2015), Adam.
    """
    require_trainable(model, cohort, "shoot")
    if model.delivery:
        raise ValueError(
            "shoot: this model's θ says how doses arrive (lag, fraction, duration, rate), so that one may move from one window "
            "into the next; write fit(…) or fit_population(…), which simulate whole records"
        )
    require_kind(objective, Objective, "shoot: objective", "shoot(model, cohort, objective=Objective(weights=…), count=16)")
    require_kind(search, Search, "shoot: search", "shoot(model, cohort, search=Search(steps=300), count=16)")
    require_kind(looks, Looks, "shoot: looks", "leave it out: shoot(model, cohort, count=16)")
    require_forecast(objective, "shoot")
    steps, rate = 300 if search.steps is None else search.steps, search.rate
    patience = 5 if looks.patience is None else looks.patience
    solver = search.solver or differentiating(model)  # one for all steps: it keeps its buffers between them
    if model.process is not None:
        raise ValueError("shoot: process noise is carried along whole records, which windows cut; fit this model with fit")
    model = copy.deepcopy(model)
    M, N, n = model.members, cohort.conditions.size, len(model.backbone.states)
    like = cohort.y
    count = window_count(cohort.conditions.segments) if count is None else count
    rounds = min(10, steps) if rounds is None else rounds
    for name, number in (("count", count), ("rounds", rounds)):
        require_number(number, f"shoot: {name}", least=1.0, whole=True)
    require_number(stiffness, "shoot: stiffness", above=0.0)
    require_number(polish, "shoot: polish", whole=True)
    require_number(growth, "shoot: growth")
    if scale is not None:
        require_tensor(scale, "shoot: scale", "torch.ones(n)")
        require_shape(scale, "shoot: scale", ..., "n", write="torch.ones(n), one a state")
    if isinstance(starts, str):
        require_choice(starts, (None, "data"), "shoot: starts, where it is no tensor and no StartEncoder(),")
    for name, tensor in (("personal", personal), ("scale", scale)):
        require_tensor(tensor, f"shoot: {name}", "torch.tensor(…)")
    if not isinstance(starts, str | StartEncoder):
        require_tensor(starts, "shoot: starts", 'starts="data", or StartEncoder()')
    if personal is not None and not personal.is_floating_point():
        raise ValueError(f"shoot: personal is {personal.dtype}, and coordinates are real numbers; write personal.to(model.dtype)")
    count, rounds, polish = int(count), int(rounds), int(polish)
    stiffness, growth = float(stiffness), float(growth)
    if rounds > steps or polish < 0 or not growth >= 1.0:
        raise ValueError(
            f"shoot: needs rounds ≤ steps, polish ≥ 0 and growth ≥ 1, got rounds {rounds} of {steps} steps, polish {polish} "
            f"and growth {growth}; leave out what need not be so"
        )
    cut = windows(cohort.conditions.segments, count, by)
    shard = search.shard or Shard()
    shard.alike(model)
    score = Score.of(model, cohort, objective, shard, "shoot")
    personal = like.new_zeros(M, N, model.personal) if personal is None else personal.detach().to(like)
    if personal.shape != (M, N, model.personal):
        raise ValueError(f"shoot: personal needs shape {(M, N, model.personal)}, got {tuple(personal.shape)}")
    if isinstance(starts, StartEncoder) and shard.world > 1:
        raise ValueError(
            "shoot: an encoder is one map of everybody's windows, and people are shared out to several processes; write "
            'starts="data", or run in one process'
        )
    encoder, by_data = starts if isinstance(starts, StartEncoder) else None, isinstance(starts, str | StartEncoder)
    try:
        if isinstance(starts, Tensor):
            starts = starts.detach().to(like)
        else:
            starts = simulated_starts(model, cohort.conditions, cut, personal, solver)
        if starts.shape != (M, N, count - 1, n):
            raise ValueError(f"shoot: starts needs shape {(M, N, count - 1, n)}, got {tuple(starts.shape)}")
        unit = (
            states_scale(model, cohort.conditions, cut, personal, starts, score.share, shard.total, solver)
            if scale is None
            else scale.to(like)
        )
        if by_data:
            taught = measured(score.taught)
            starts = starts.expand(M, -1, -1, -1)
            starts = starts_from_data(model, cohort, cut, personal, starts, taught, unit, stiffness, solver)
    except SimulationError as error:
        raise named(error, cohort) from error
    if not bool((torch.isfinite(unit) & (unit > 0)).all()) or unit.shape[-1] != n:
        raise ValueError(f"shoot: scale needs {n} positive finite numbers, one a state, got {unit.tolist()}")

    # every variable moves by about `rate` in one step of Adam, so the starts are in their scales
    joints = Joints.of((starts / unit).expand(M, N, count - 1, n).contiguous(), stiffness, growth)
    encoded = None if encoder is None else Encoded.of(encoder, cut, score.taught, taught, joints.starts.detach())
    mapping = {} if encoded is None else encoded.tensors
    state = State.begin(model, N, personal, joints.tensors | mapping)
    own = state.personal
    moving = in_bfloat16(model) if search.bfloat16 else model

    # over a long record the steps of single shooting and of the looks are not taken one after the other either
    through = InWindows(solver, count) if cut.whole.dt.shape[1] >= LONG else None

    def begun() -> Solver:
        """From the joints of the last step, which a checkpoint has too: so that a fit that goes on rounds alike."""
        if through is None:
            return solver
        through.starts = joints.starts.detach() * unit
        return through

    def in_windows() -> Tensor:  # (2, M)
        begin = joints.starts if encoded is None else encoded.starts()
        try:
            run, gap = rollout_windows(moving, cohort.conditions, cut, own, begin * unit, solver)
        except SimulationError as error:
            raise named(error, cohort) from error
        if encoded is not None:
            gap = torch.where(encoded.known[..., None], gap, 0.0)
            with torch.no_grad():
                joints.starts.copy_(begin)
        return torch.stack([score.loss(model, run, own), joints.cost(gap / unit, score.share)])

    def whole() -> Tensor:  # (M,)
        try:
            run = rollout(moving, cohort.conditions, own, begun())
        except SimulationError as error:
            raise named(error, cohort) from error
        if through is not None and through.starts is not None:
            with torch.no_grad():
                joints.starts.copy_(through.starts / unit)
        return score.loss(model, run, own)

    noise: list[Tensor] = list(model.noise.parameters())
    quiet = {id(p) for p in noise}
    weights = [p for p in model.parameters() if id(p) not in quiet]
    settle = steps // 3
    ends = {settle + (steps - settle) * k // rounds for k in range(rounds)}  # the steps that end with new multipliers
    quietly = steps - steps // 3  # until here the noise rests
    total = steps + polish

    def rest(index: int) -> None:
        if index <= quietly:
            for tensor in noise:
                tensor.grad = None  # what has no gradient is left alone

    def multiply(index: int) -> None:
        if index in ends and encoded is None:
            joints.multiply()
            _forget(state.optimiser)

    def still(index: int) -> None:
        if index == steps + 1:
            joints.gap.zero_()

    def falling(counts: tuple[int | None, ...]) -> Callable[[Optimizer], LRScheduler]:
        return _falling((None, None, None) if searching else counts)

    searching = line_search(search)  # it finds its steps itself
    decayless = {"weight_decay": 0.0}  # a start that decays is pulled to 0, and no weight
    begins: dict[str, Any] = {"params": [joints.starts], **decayless}
    beginning = Part([], [joints.starts])
    if encoded is not None:  # a start is a sum of so many numbers, each of which moves by a rate
        begins = {"params": [*mapping.values()], "lr": rate * encoded.features.shape[-1] ** -0.5, **decayless}
        beginning = Part([*mapping.values()])
    first: list[dict[str, Any]] = [{"params": [*weights, own]}, begins, {"params": noise}]
    parts = [Part(weights, [own]), beginning, Part(noise)]
    stages = [
        Stage(
            *("shooting", steps, in_windows, parts, first, rate, search.schedule or falling((steps, steps, None))),
            *(rest, multiply),
            patient=False,
            forgiving=True,
        )
    ]
    moved = [t for t in (*weights, own, *noise) if t.requires_grad]
    # a quasi-Newton search of every member, where a member's numbers are its own and all in this process
    curved = search.optimiser is None and shard.world == 1 and all(len(t) == M for t in moved)
    if polish:
        # a first step of Adam is a whole one in every weight, and over a whole record a small change goes far
        slow = rate if searching or curved else 0.02 * rate
        last = [{"params": [*weights, own], "lr": slow}, {"params": noise, "lr": rate}]
        if curved:
            last = [{"params": moved}]
        whole_parts, slower = [Part(weights, [own]), Part(noise)], falling((None,) if curved else (polish, polish))
        quasi_newton = MembersLBFGS if curved else None
        stages.append(Stage("polish", total, whole, whole_parts, last, slow, slower, after=still, moved_by=quasi_newton))
    settings = {
        "steps": steps,
        "windows": [count, by, rounds, polish, stiffness, growth],
        "starts": starts,
        "scale": unit,
        "people's first coordinates": personal,
    }
    if polish and curved:
        settings["polish"] = "by L-BFGS"
    if encoder is not None:
        settings["encoder"] = [encoder.lags, encoder.hidden]
    course = Course(score, search, looks, patience, solver, settings, begun)
    for _ in course.run(state, stages):
        yield _step(state, total, joints, course)


def _step(state: State, total: int, joints: Joints, course: Course) -> ShootingStep:
    def now() -> Fitted:
        return Fitted(copy.deepcopy(state.model), state.personal.detach().clone())

    phase: Literal["shooting", "polish"] = "shooting" if state.stage == "shooting" else "polish"
    score, ended = course.score, course.ended(state, total)
    defect = score.shard.gather(joints.defect(score.taught.weights > 0)[None]).amax(0)
    compared = score.compared(state.best_score)
    return ShootingStep(
        state.index, total, phase, state.loss, defect, state.rate, state.best, state.latest, now, ended, compared
    )


def _falling(steps: Sequence[int | None]) -> Callable[[Optimizer], LRScheduler]:
    """The rate of each group falls by a cosine to 2 % in its number of steps, or is constant without one."""

    def falling(count: int | None) -> Callable[[int], float]:
        return lambda k: 1.0 if count is None else 0.02 + 0.49 * (1.0 + math.cos(math.pi * min(k / count, 1.0)))

    # an optimiser that takes no groups has one, and the first number of steps
    return lambda optimiser: LambdaLR(optimiser, [falling(c) for c in steps[: len(optimiser.param_groups)]])


def _forget(optimiser: Optimizer) -> None:
    """A line search remembers slopes of an objective, and the objective is another one now."""
    if isinstance(optimiser, torch.optim.LBFGS):
        optimiser.state.clear()
    elif hasattr(optimiser, "forget"):
        optimiser.forget()

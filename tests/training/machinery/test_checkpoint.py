"""Stop, save, resume is never stopped: killed at any moment, damaged, or asked to be another fit."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from hybrid import HybridModel, SimulationError, Torchdiffeq
from learned import Ensemble
from tests.builders import MESH, as_values, oral_model, oral_people
from training import Checkpoint, Cohort, Looks, Record, Search, Stability, Step, fit
from training.machinery.checkpoint import Saved, fingerprint_of, plain

ROOT = Path(__file__).parents[3]


def stacked(model: HybridModel, members: int = 3, seed: int = 3) -> HybridModel:
    return Ensemble(members).stack(model, torch.Generator().manual_seed(seed))


@cache
def penalty() -> Stability:
    """Of the model before it is stacked, whose backbones every stack of it has: found once, it takes longer than a fit here."""
    return Stability.of(oral_model(), {})


def settings() -> dict:
    """Everything that has a state: looks, warm starts, patience, a penalty."""
    held_out = torch.eye(4, dtype=torch.bool)[:3]
    return {
        "weights": (~held_out).to(torch.float64),
        "held_out": held_out,
        "steps": 9,
        "every": 2,
        "forecast_from": 1.0,
        "stability": penalty(),
    }


def last(steps: Iterator[Step]) -> Step:
    *_, final = steps
    return final


def same(a: Step, b: Step) -> bool:
    pairs = [(a.loss, b.loss), (a.held_out, b.held_out), (a.best.personal, b.best.personal)]
    pairs += zip(a.best.model.parameters(), b.best.model.parameters(), strict=True)
    return (a.index, a.rate) == (b.index, b.rate) and all(torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in pairs)


OPTIMISERS = {
    "adam": {},
    "adamw, one cycle": {
        "optimiser": partial(torch.optim.AdamW, weight_decay=1e-2, amsgrad=True),
        # it moves the betas too
        "schedule": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=12),
    },
    "sgd, a schedule of one's own": {
        "optimiser": partial(torch.optim.SGD, momentum=0.9),
        "rate": 1e-3,
        "schedule": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: 1.0 / (1.0 + k)),
    },
    # its running product is a float32 scalar beside float64 weights
    "nadam, in turn": {
        "optimiser": torch.optim.NAdam,
        "schedule": lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o, 0.1, 1.0, 3), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
            milestones=[3],
        ),
    },
}


@cache
def whole_by(how: str) -> list[Step]:
    """Every step of the fit that is never stopped."""
    model = stacked(oral_model())
    cohort = Cohort.of(oral_people(), model, MESH)
    return list(fit(model, cohort, **as_values(**settings(), **OPTIMISERS[how])))


@pytest.mark.parametrize("how", OPTIMISERS)
@pytest.mark.parametrize("stop", [1, 4, 9])
def test_stopped_saved_and_resumed_is_never_stopped(
    model: HybridModel, cohort: Cohort, tmp_path: Path, how: str, stop: int
) -> None:
    model, given, whole = stacked(model), {**settings(), **OPTIMISERS[how]}, whole_by(how)
    # every second step, and the last one before it stops: also where that is no second one
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=2)
    for step in fit(model, cohort, **as_values(**given, checkpoint=checkpoint)):
        if step.index == stop:
            break
    torch.rand(3)  # what the caller draws in between changes nothing
    resumed = list(fit(model, cohort, **as_values(**given, checkpoint=checkpoint)))
    assert [s.index for s in resumed] == list(range(stop, 10))  # the saved step comes once more
    assert all(same(a, b) for a, b in zip(resumed, whole[stop - 1 :], strict=True))
    # a fit that has ended says how it ended, and does nothing
    assert same(last(fit(model, cohort, **as_values(**given, checkpoint=checkpoint))), whole[-1])


def test_one_that_ended_by_patience_has_ended(model: HybridModel, cohort: Cohort, tmp_path: Path) -> None:
    y = cohort.y.clone()
    y[3] = 0.3 * y[3].flip(0)  # whoever learns from it forecasts the others worse from the first look on
    held_out = torch.eye(4, dtype=torch.bool)[:3]
    given = {"weights": (~held_out).to(torch.float64), "held_out": held_out, "rate": 0.2, "every": 2, "patience": 1}
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=50)
    first = list(fit(stacked(model), replace(cohort, y=y), **as_values(steps=24, checkpoint=checkpoint, **given)))
    again = list(fit(stacked(model), replace(cohort, y=y), **as_values(steps=24, checkpoint=checkpoint, **given)))
    assert len(first) == 4
    assert len(again) == 1
    assert same(again[0], first[-1])


def test_an_interrupt_amid_a_step_saves_the_last_whole_one(
    model: HybridModel, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stacked(model)
    whole = whole_by("adam")
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=100)
    step = torch.optim.Adam.step
    count = 0

    def interrupted(self: torch.optim.Adam, closure: None = None) -> None:
        nonlocal count
        count += 1
        if count == 4:
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)  # half of a step is done
            raise KeyboardInterrupt
        step(self, closure)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(fit(model, cohort, **as_values(**settings(), checkpoint=checkpoint)))
    resumed = list(fit(model, cohort, **as_values(**settings(), checkpoint=checkpoint)))
    assert resumed[0].index == 3
    assert all(same(a, b) for a, b in zip(resumed, whole[2:], strict=True))


def test_a_failure_before_the_first_step_leaves_no_file(model: HybridModel, cohort: Cohort, tmp_path: Path) -> None:
    far = cohort.conditions.baseline.clone()
    far[2] = 1e308
    bad = replace(cohort, conditions=replace(cohort.conditions, baseline=far))
    with pytest.raises(SimulationError):
        last(fit(model, bad, looks=Looks(checkpoint=Checkpoint(tmp_path / "fit.checkpoint"))))
    assert list(tmp_path.iterdir()) == []


# ---- killed ----------------------------------------------------------------------------------------------------------


# One process that has everything loaded forks a child for each attempt and kills it: starting afresh would take seconds each.
PROGRAM = """
import json, os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from safetensors.torch import save_file
from tests.builders import as_values
from tests.training.machinery.test_checkpoint import small
from training import Checkpoint, fit

path, out = sys.argv[1:]
model, cohort, given = small()
next(fit(model, cohort, **as_values(**given)))  # what is imported at the first step is imported once
rng = random.Random(5)
seen, kills = [], 0
while not os.path.exists(out):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        for step in fit(model, cohort, **as_values(**given, checkpoint=Checkpoint(path, every=1))):
            os.write(write, b"%d\\n" % step.index)
        found = {name: p.detach().clone() for name, p in step.best.model.named_parameters()}
        found |= {"personal": step.best.personal, "loss": step.loss, "held_out": step.held_out}
        save_file(found, out + ".partial")
        os.rename(out + ".partial", out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        if kills < 8:
            # some steps later, at any moment of a step or of a write
            seen += [int(lines.readline()) for _ in range(rng.randint(1, 5))]
            time.sleep(rng.uniform(0.0, 0.05))
            os.kill(child, signal.SIGKILL)
            kills += 1
        seen += [int(line) for line in lines]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
print(json.dumps([kills, seen]))
"""


def small() -> tuple[HybridModel, Cohort, dict]:
    """The fit that is killed: as small as can be, with everything that has a state."""
    people = oral_people()
    model = stacked(oral_model(), 2)
    cohort = Cohort.of(people, model, MESH)
    held_out = torch.eye(4, dtype=torch.bool)[:2]
    weights = (~held_out).to(torch.float64)
    return model, cohort, {"weights": weights, "held_out": held_out, "steps": 40, "every": 6, "forecast_from": 1.0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_killed_at_random_moments_and_resumed_is_never_killed(tmp_path: Path) -> None:
    model, cohort, given = small()
    whole = last(fit(model, cohort, **as_values(**given)))
    out = tmp_path / "out.safetensors"
    code = PROGRAM
    # where torch sees a GPU, no gradient can be taken in a fork after one was taken before it: the program sees none
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", code, str(tmp_path / "fit.checkpoint"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    kills, seen = json.loads(done.stdout.splitlines()[-1])
    assert kills == 8
    assert set(seen) == set(range(1, 41))  # nothing was left out
    # it went on each time: what was seen again is at most the saved step and the one that was not yet saved
    assert len(seen) <= 40 + 2 * kills
    from safetensors.torch import load_file

    found = load_file(out)
    for name, parameter in whole.best.model.named_parameters():
        assert torch.equal(found[name], parameter), name
    assert torch.equal(found["personal"], whole.best.personal)
    assert torch.equal(found["loss"], whole.loss)
    assert torch.equal(found["held_out"], whole.held_out)


# ---- damaged ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def at_five(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Of a fit that was stopped at step 5, with the one before it, of step 4."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("stopped") / "fit.checkpoint", every=2)
    model = stacked(oral_model())
    cohort = Cohort.of(oral_people(), model, MESH)
    for step in fit(model, cohort, **as_values(**settings(), checkpoint=checkpoint)):
        if step.index == 5:
            break
    return checkpoint


@pytest.fixture
def checkpoint(at_five: Checkpoint, tmp_path: Path) -> Checkpoint:
    """A copy of that, to damage."""
    copy = Checkpoint(tmp_path / "fit.checkpoint", every=2)
    for there, here in ((at_five.path, copy.path), (at_five.previous, copy.previous)):
        shutil.copyfile(there, here)
    return copy


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    # one bit of one number
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def change_header(data: bytes) -> bytes:
    return re.sub(rb'\\"index\\": \d', rb'\\"index\\": 7', data, count=1)


DAMAGE = {
    "truncated": truncate,
    "empty": lambda data: b"",
    "a bit flipped": flip,
    "the header changed": change_header,
    "another file": lambda data: b"PK\x03\x04" + data,
    "another safetensors": lambda data: __import__("safetensors.torch").torch.save({"x": torch.zeros(2)}),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_passed_over_for_the_one_before_it(
    model: HybridModel, cohort: Cohort, checkpoint: Checkpoint, how: str
) -> None:
    model, whole = stacked(model), whole_by("adam")[-1]
    assert checkpoint.previous.exists()
    before = checkpoint.path.read_bytes()
    assert DAMAGE[how](before) != before
    checkpoint.path.write_bytes(DAMAGE[how](before))
    with pytest.warns(UserWarning, match="no whole checkpoint .* going on from the one before it, step 4") as warned:
        resumed = list(fit(model, cohort, **as_values(**settings(), checkpoint=checkpoint)))
    assert len(warned) == 1
    assert resumed[0].index == 4
    assert same(resumed[-1], whole)


def test_where_both_are_damaged_it_is_one_sentence(
    model: HybridModel, cohort: Cohort, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model = stacked(model)
    for path in (checkpoint.path, checkpoint.previous):
        path.write_bytes(truncate(path.read_bytes()))
    with pytest.raises(ValueError, match="no whole one before it: delete it to start anew") as caught:
        next(fit(model, cohort, **as_values(**settings(), checkpoint=checkpoint)))
    assert "\n" not in str(caught.value)
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []
    assert next(fit(model, cohort, **as_values(**settings(), checkpoint=checkpoint))).index == 1


def test_a_damaged_one_before_it_is_nobodys_business(model: HybridModel, cohort: Cohort, checkpoint: Checkpoint) -> None:
    model = stacked(model)
    checkpoint.previous.write_bytes(b"")
    assert next(fit(model, cohort, **as_values(**settings(), checkpoint=checkpoint))).index == 5


def test_a_deleted_file_starts_anew_whatever_is_beside_it(model: HybridModel, cohort: Cohort, checkpoint: Checkpoint) -> None:
    model = stacked(model)
    checkpoint.path.unlink()
    steps = fit(model, cohort, **as_values(**settings(), checkpoint=checkpoint))
    assert next(steps).index == 1
    steps.close()
    assert not checkpoint.previous.exists()  # it belonged to the deleted one


def test_nothing_is_half_written_where_the_disk_is_full(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checkpoint.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write({}, Saved(9, {}, {"x": torch.zeros(2)}))
    assert checkpoint.path.read_bytes() == before


def test_without_links_the_one_before_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint")
    for index in (1, 2, 3):
        checkpoint.write({"a": 1}, Saved(index, {}, {"x": torch.tensor([float(index)])}))
    assert [s.index for s in checkpoint.read({"a": 1})] == [3, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fit.checkpoint", "fit.checkpoint.previous"]
    checkpoint.back_to(checkpoint.read({"a": 1})[1])
    assert [s.index for s in checkpoint.read({"a": 1})] == [2]


def test_the_file_is_safetensors_and_holds_no_code(checkpoint: Checkpoint) -> None:
    import safetensors

    with safetensors.safe_open(checkpoint.path, "pt") as file:
        about = file.metadata()
        names = set(file.keys())
    assert {"format", "version", "fingerprint", "values", "sha256"} == about.keys()
    assert json.loads(about["values"])["index"] == 5
    assert {"personal", "warm", "model.population.shift", "best.population.shift", "optimiser.0.exp_avg"} <= names


# ---- another fit -----------------------------------------------------------------------------------------------------


def changed_y(cohort: Cohort) -> Cohort:
    y = cohort.y.clone()
    y[1, 2] += 1e-9
    return replace(cohort, y=y)


def changed_dose(cohort: Cohort) -> Cohort:
    segments = cohort.conditions.segments
    return replace(cohort, conditions=replace(cohort.conditions, segments=replace(segments, jump=segments.jump * 1.01)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 10}, "steps was 9 and is 10"),
        ({"rate": 0.01}, "rate was 0.05 and is 0.01"),
        ({"patience": 2}, "patience was 5 and is 2"),
        ({"clip": None}, "clip was 10.0 and is null"),
        ({"forecast_from": 1.5}, "forecast_from was 1.0 and is 1.5"),
        ({"least_residual": 0.5}, "least_residual was 1.0 and is 0.5"),
        ({"stability": None}, "the stability changed"),
        ({"solver": Torchdiffeq("midpoint")}, "the solver changed"),
        ({"weights": torch.tensor([[0.0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 2]])}, "the weights changed"),
        ({"optimiser": torch.optim.AdamW}, "the optimiser changed"),
        ({"schedule": lambda o: torch.optim.lr_scheduler.ConstantLR(o)}, "the schedule changed"),
    ],
)
def test_other_settings_are_refused_by_name(
    model: HybridModel, cohort: Cohort, checkpoint: Checkpoint, arguments: dict, words: str
) -> None:
    model = stacked(model)
    before = checkpoint.path.read_bytes()
    with pytest.raises(ValueError, match=f"is the checkpoint of another fit: .*{words}") as caught:
        next(fit(model, cohort, **as_values(**{**settings(), **arguments}, checkpoint=checkpoint)))
    assert "\n" not in str(caught.value)
    assert checkpoint.path.read_bytes() == before


def test_another_model_or_cohort_is_refused_by_name(
    people: tuple[Record, ...], model: HybridModel, cohort: Cohort, checkpoint: Checkpoint
) -> None:
    stack = stacked(model)
    given = settings()

    def words(other: HybridModel, on: Cohort) -> str:
        with pytest.raises(ValueError, match="another fit") as caught:
            next(fit(other, on, **as_values(**given, checkpoint=checkpoint)))
        return str(caught.value).split("another fit: ")[1].split(";")[0]

    assert words(stacked(model, seed=4), cohort) == "the first weights changed"
    assert words(stack, changed_y(cohort)) == "the measurements changed"
    assert words(stack, changed_dose(cohort)) == "the schedules changed"
    renamed = [replace(people[0], id="X"), *people[1:]]
    assert words(stack, Cohort.of(renamed, model, MESH)) == 'people was ["P1", "P2", "P3", "P4"] and is ["X", "P2", "P3", "P4"]'
    other = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    # without a residual it is linear, and then solved exactly where nobody says otherwise
    assert words(stacked(other), cohort) == "the first weights changed, the model changed, the solver changed"


def test_a_schedule_whose_function_cannot_be_compared_is_compared_by_its_rates(
    model: HybridModel, cohort: Cohort, tmp_path: Path
) -> None:
    def decaying(by: float) -> dict:
        return {"steps": 6, "schedule": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: by**k)}

    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=2)
    for step in fit(model, cohort, **as_values(**decaying(0.9), checkpoint=checkpoint)):
        if step.index == 2:
            break
    with pytest.raises(ValueError, match="the schedule leads to"):
        next(fit(model, cohort, **as_values(**decaying(0.8), checkpoint=checkpoint)))
    assert next(fit(model, cohort, **as_values(**decaying(0.9), checkpoint=checkpoint))).index == 2


def test_the_fingerprint_is_the_same_for_the_same_fit(model: HybridModel, cohort: Cohort) -> None:
    given = {"a": float("nan"), "b": (1, 2.5), "c": partial(torch.optim.SGD, momentum=0.9), "d": Torchdiffeq("rk4")}
    first, second = (json.dumps(fingerprint_of(model, cohort, given)) for _ in range(2))
    assert first == second
    assert " at 0x" not in first
    assert plain(torch.zeros(2)) != plain(torch.zeros(2, dtype=torch.float64))
    assert plain(torch.zeros(0)) != plain(torch.zeros(0, 3))


def test_every_is_a_number_of_steps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, and is 0"):
        Checkpoint(tmp_path / "x", every=0)


def test_optimisers_that_mix_members_are_refused(model: HybridModel, cohort: Cohort) -> None:
    with pytest.raises(ValueError, match=r"^fit: LBFGS searches along one line for all 2 members"):
        next(fit(stacked(model, 2), cohort, search=Search(optimiser=torch.optim.LBFGS)))
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        next(fit(model, cohort, search=Search(schedule=torch.optim.lr_scheduler.ReduceLROnPlateau)))
    with pytest.raises(ValueError, match="must be above 0"):
        next(fit(model, cohort, search=Search(clip=0.0)))


def test_a_line_search_finds_the_minimum_of_one_member_and_resumes(
    model: HybridModel, cohort: Cohort, tmp_path: Path
) -> None:
    by = Search(optimiser=partial(torch.optim.LBFGS, line_search_fn="strong_wolfe", max_iter=5), rate=1.0, steps=12)
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    whole = list(fit(alone, cohort, search=by))
    # some 60 evaluations of a smooth function of some 20 numbers: it ends where its slope is gone, where 60 steps of Adam do not
    losses = [float(step.loss) for step in whole]
    assert losses == sorted(losses, reverse=True)
    adam = last(fit(alone, cohort, search=Search(steps=60)))
    assert losses[-1] < float(adam.loss)
    assert losses[-2] - losses[-1] < 0.05
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=3)
    for step in fit(alone, cohort, search=by, looks=Looks(checkpoint=checkpoint)):
        if step.index == 4:
            break
    resumed = list(fit(alone, cohort, search=by, looks=Looks(checkpoint=checkpoint)))
    assert [s.index for s in resumed] == list(range(4, 13))
    assert all(same(a, b) for a, b in zip(resumed, whole[3:], strict=True))


def test_clipping_is_per_member_and_can_be_left_out(model: HybridModel, cohort: Cohort) -> None:
    # SGD moves by rate × gradient: what is clipped shows
    model = stacked(model, 2)
    moved = []
    for clip in (None, 1e-3):
        step = next(fit(model, cohort, search=Search(optimiser=torch.optim.SGD, rate=1e-3, clip=clip)))
        parts = [*zip(step.best.model.parameters(), model.parameters(), strict=True)]
        parts.append((step.best.personal, torch.zeros_like(step.best.personal)))
        moved.append(torch.stack([(a - b).detach().flatten(1).square().sum(1) for a, b in parts]).sum(0).sqrt() / 1e-3)
    assert (moved[0] > 1.0).all()
    torch.testing.assert_close(moved[1], torch.full_like(moved[1], 1e-3), rtol=1e-9, atol=0.0)

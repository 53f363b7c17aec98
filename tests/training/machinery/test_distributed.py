"""One fit in several processes is the fit in one: two gloo processes on this machine, forked, or under torch's own launcher."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from exchange import Bundle, load
from hybrid import HybridModel
from learned import Ensemble, select
from training import Shard, gather_members

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/many_devices.py"

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch is built without gloo"
)


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}  # no network is needed
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **loopback}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def run(script: Path, *arguments: object, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """The script as one process, or under the launcher; it must end within the minute."""
    launcher = [
        *("-m", "torch.distributed.run", "--nproc-per-node", str(processes)),
        *("--master-addr", "127.0.0.1", "--master-port", str(free_port())),
    ]
    command = [sys.executable, *(launcher if processes > 1 else []), str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)


def bundle(folder: Path, *arguments: object, processes: int = 1) -> Bundle:
    done = run(EXAMPLE, "--out", folder, *arguments, processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    return load(folder / "model.twin")


SMALL = ("--members", 5, "--steps", 6)

FAILING = """
import sys
import torch
from training import Shard

with Shard.from_env() as shard:
    if shard.rank == 1:
        raise ValueError("this process cannot go on")
    shard.gather(torch.ones(2))
    print("nobody was there")
"""

# One process that has everything loaded forks the processes of every job, since starting afresh would take each of them seconds.
# They find each other by the environment that torch's launcher gives its own, and nobody watches over them.
FORKING = """
import gc, json, os, runpy, signal, socket, sys
import torch
torch.set_num_threads(1)
import torch._dynamo  # the first optimiser step imports it
import exchange, homeostat.data, tests.builders, training
gc.freeze()  # else every child visits, and so copies, all that was loaded as it collects garbage

found = {}
for name, world, script, *arguments in json.loads(sys.argv[1]):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            signal.alarm(100)  # whoever hangs is killed, which is no exit of its own
            shared = {"WORLD_SIZE": world, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({k: str(v) for k, v in (shared | {"RANK": rank}).items()})
            said = os.open(f"{name}.{rank}", os.O_WRONLY | os.O_CREAT)
            os.dup2(said, 1)
            os.dup2(said, 2)
            sys.argv = [script, *arguments]
            runpy.run_path(script, run_name="__main__")
            sys.exit()
        children.append(child)
    found[name] = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Jobs:
    """What the forked processes returned, by job, and the folder of what they wrote."""

    folder: Path
    codes: Mapping[str, Sequence[int]]

    def said(self, name: str) -> str:
        """By all processes of a job."""
        return "".join((self.folder / f"{name}.{rank}").read_text() for rank in range(len(self.codes[name])))

    def bundle(self, name: str) -> Bundle:
        """What a job's first process saved."""
        assert not any(self.codes[name]), self.said(name)[-3000:]
        return load(self.folder / name / "model.twin")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """The example in one process and in two, by members and by people, and two scripts in two."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system; the slow tests start the same processes afresh")
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "failing.py").write_text(FAILING)
    (folder / "uneven.py").write_text(UNEVEN)
    small = list(map(str, SMALL))
    asked = [
        ["alone", 1, str(EXAMPLE), "--out", "alone", *small],
        ["members", 2, str(EXAMPLE), "--out", "members", *small],
        ["people", 2, str(EXAMPLE), "--out", "people", "--share", "people", *small],
        ["uneven", 2, "uneven.py", "uneven"],
        ["failing", 2, "failing.py"],
    ]
    command = [sys.executable, "-c", FORKING, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment(), timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return Jobs(folder, json.loads(done.stdout.splitlines()[-1]))


def identical(found: Bundle, alone: Bundle, folder: Path) -> None:
    assert found.model.members == 5  # 3 + 2
    for (name, a), b in zip(found.model.named_parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(found.personal.mode, alone.personal.mode)
    assert (folder / "fit.checkpoint.0-of-2").exists()
    assert (folder / "fit.checkpoint.1-of-2").exists()


def test_members_in_two_processes_are_the_same_to_the_last_bit(jobs: Jobs) -> None:
    identical(jobs.bundle("members"), jobs.bundle("alone"), jobs.folder / "members")


@pytest.mark.slow
def test_under_torchs_own_launcher_they_are_the_same_too(tmp_path: Path) -> None:
    alone = bundle(tmp_path / "alone", *SMALL)
    identical(bundle(tmp_path / "two", *SMALL, processes=2), alone, tmp_path / "two")


def test_people_in_two_processes_are_the_same_but_for_the_order_of_sums(jobs: Jobs) -> None:
    found, alone = jobs.bundle("people"), jobs.bundle("alone")
    for a, b in zip(found.model.parameters(), alone.model.parameters(), strict=True):
        # sums in another order differ at 1e-16, and Adam divides by √v: a few hundred times that
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_one_that_fails_does_not_leave_the_others_hanging(jobs: Jobs) -> None:
    """By hand: nobody watches over them."""
    assert all(code > 0 for code in jobs.codes["failing"])
    assert "this process cannot go on" in jobs.said("failing")
    assert "nobody was there" not in jobs.said("failing")


@pytest.mark.slow
def test_one_that_fails_ends_the_others_under_the_launcher(tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    begun = time.monotonic()
    done = run(script, processes=2)
    assert done.returncode != 0
    assert "this process cannot go on" in done.stdout + done.stderr
    assert "nobody was there" not in done.stdout + done.stderr
    assert time.monotonic() - begun < 60


# Rank 1 is ahead by a checkpoint: both go on from the one that they have in common
UNEVEN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.builders import MESH, as_values, oral_model, oral_people
from learned import Ensemble
from training import Checkpoint, Cohort, Shard, fit

folder = Path(sys.argv[1])
with Shard.from_env() as shard:
    people = oral_people()
    model = Ensemble(2).stack(oral_model(), torch.Generator().manual_seed(shard.rank))
    mine = shard.part(4)
    cohort = Cohort.of(people, model, MESH).people(mine)
    weights = torch.ones(2, 4, dtype=torch.float64)
    weights[:, 3] = 0.0
    given = {"weights": weights[:, mine], "held_out": weights[:, mine] == 0, "every": 2, "forecast_from": 1.0}
    whole = list(fit(model, cohort, **as_values(shard=shard, steps=5, **given)))
    checkpoint = Checkpoint(shard.path(folder / "fit"), every=2)
    steps = fit(model, cohort, **as_values(shard=shard, steps=5, checkpoint=checkpoint, **given))
    for step in steps:
        # both are stopped in step 4: one has written what came of it, the other is killed before it could
        if step.index == 4:
            steps.close()
            break
    if shard.rank == 0:
        checkpoint.previous.replace(checkpoint.path)
    resumed = list(fit(model, cohort, **as_values(shard=shard, steps=5, checkpoint=checkpoint, **given)))
    assert [s.index for s in resumed] == [2, 3, 4, 5], [s.index for s in resumed]
    for a, b in zip(resumed, whole[1:], strict=True):
        assert torch.equal(a.loss, b.loss)
        assert torch.equal(a.held_out.nan_to_num(), b.held_out.nan_to_num())
        assert torch.equal(a.best.personal, b.best.personal)
    # the processes began with different weights, and were given the first one's
    for parameter in step.best.model.parameters():
        both = shard.gather(parameter[None])
        assert torch.equal(both[0], both[1])
    # where they have nothing in common, both say so
    if shard.rank == 0:
        checkpoint.remove()
    try:
        next(fit(model, cohort, **as_values(shard=shard, steps=5, checkpoint=checkpoint, **given)))
    except ValueError as error:
        assert "no step in common" in str(error)
    else:
        raise SystemExit("it went on from nothing")
# threads that outlive the group abort the process as it exits, now and then
names = [file.read_text() for file in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in names if "gloo" in name], names
"""


def test_processes_go_on_from_the_step_that_all_have(jobs: Jobs) -> None:
    assert not any(jobs.codes["uneven"]), jobs.said("uneven")[-3000:]


# ---- one process -----------------------------------------------------------------------------------------------------


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch, model: HybridModel) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with Shard.from_env() as shard:
        assert (shard.rank, shard.world, shard.first) == (0, 1, True)
        assert shard.part(3).tolist() == [0, 1, 2]
        x = torch.arange(3.0)
        assert shard.total(x) is x
        assert shard.gather(x) is x
        assert shard.path("a/b.c") == Path("a/b.c")
        both = gather_members(model, shard)
        assert all(torch.equal(a, b) for a, b in zip(both.parameters(), model.parameters(), strict=True))
    assert not dist.is_initialized()


def test_parts_are_everyone_once_and_nearly_equal() -> None:
    parts = [Shard(rank, 3).part(8).tolist() for rank in range(3)]
    assert [i for part in parts for i in part] == list(range(8))
    assert sorted(map(len, parts)) == [2, 3, 3]
    with pytest.raises(ValueError, match="2 cannot be shared out to 3 processes"):
        Shard(0, 3).part(2)
    assert Shard(1, 3).path("a/b.c") == Path("a/b.c.1-of-3")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="needs a GPU of its own, and torch sees 0"):
        Shard.from_env("cuda")


def test_members_are_computed_alike_in_any_company(model: HybridModel) -> None:
    # what the promise of equal bits rests on; a member quite alone is computed by other kernels, and agrees to rounding
    stack = Ensemble(6).stack(model, torch.Generator().manual_seed(0))
    x = 100.0 * torch.randn(6, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    u, c = x.new_zeros(1, 5, 0), x.new_zeros(6, 5, 0)
    whole = stack.residual(x, u, c)
    for part in (Shard(0, 2).part(6), Shard(1, 2).part(6)):
        assert torch.equal(select(stack, part).residual(x[part], u, c[part]), whole[part])

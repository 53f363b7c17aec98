"""`homeostat identify`: what is printed, what is drawn, exit codes, and what is refused in a sentence."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from homeostat.pictures import expected_errors_axes
from homeostat.study.backbones import backbone_named
from homeostat.study.identified import Asked, identify
from tests.homeostat.shell import run as shell

DOSE = ["--do", "dose 320 mg -> gut @ 0"]
NOISE = ["--proportional", "0.1", "--additive", "0.1"]
RICH, LATE = "rich=0.25,0.5,1,2,4,8,24", "late=4,8,12,24"


run = partial(shell, "identify")


def test_designs_beside_each_other(tmp_path: Path) -> None:
    picture = tmp_path / "errors.svg"
    done = run(*DOSE, "--times", RICH, "--times", LATE, *NOISE, "--people", 12, "--picture", picture)
    assert done.exit_code == 0, done.output
    assert "The best of them is rich." in done.stdout
    assert "These data hardly tell anything of ka" in done.stdout  # of the late one
    assert "gives the same data; the model keeps it out: ka is kept above ke." in done.stdout
    assert "svg" in picture.read_text()[:500]
    told = json.loads(run(*DOSE, "--times", RICH, "--times", LATE, *NOISE, "--people", 12, "--json").stdout)
    assert told["best"] == "rich"
    assert told["identified"] is True
    assert told["times"]["late"] == [4.0, 8.0, 12.0, 24.0]
    assert told["population"]["efficiency"]["late"] < 0.5
    late = told["population"]["designs"]["late"]
    assert late["rse"][late["names"].index("ka")] > 1.0
    # the late design alone leaves ka unknown
    assert run(*DOSE, "--times", LATE, *NOISE, "--people", 12).exit_code == 1


def test_what_is_not_seen_is_said_and_is_null_in_json() -> None:
    asked = [*DOSE, "--times", "0.5,1,2,4,8,24", *NOISE, "--fraction", "gut=0.8", "--known", "ka"]
    done = run(*asked)
    assert done.exit_code == 1
    assert "These data cannot tell V from F, only their ratio V/F." in done.stdout
    told = json.loads(run(*asked, "--json").stdout)
    one = told["person"]["designs"]["design"]
    assert one["names"] == ["ke", "V", "F"]
    assert (one["rank"], one["rse"][1:], one["log_det"]) == (2, [None, None], None)
    assert told["other_optima"] is None
    # known F, and all is seen
    assert run(*DOSE, "--times", "0.5,1,2,4,8,24", *NOISE, "--fraction", "gut=0.8", "--known", "ka,F").exit_code == 0


def test_two_optima_that_nothing_keeps_apart_are_exit_code_1() -> None:
    config = json.dumps({"faster": None, "ke": [0.005, 20.0]})
    done = run(
        *DOSE, "--times", "0.25,0.5,1,2,4,8,24", *NOISE, "--backbone-config", config, "--values", "ka=1.2,ke=0.1,V=20"
    )
    assert done.exit_code == 1
    assert "ka = 0.1 /h, ke = 1.2 /h, V = 1.667 L gives the same data, and nothing keeps it out" in done.stdout


def test_a_mechanism_with_shared_values_and_noise_by_channel() -> None:
    asked = [
        "--backbone",
        "MichaelisMenten",
        "--do",
        "dose 2 mg -> plasma @ 0",
        "--times",
        "0.1,0.2,0.5,1,2",
        "--known",
        "ka",
    ]
    done = run(*asked, "--proportional", "concentration=0.1", "--spread", "Vmax=0.3,Km=0", "--people", 40, "--json")
    told = json.loads(done.stdout)
    (population,) = told["population"]["designs"].values()
    assert population["names"] == ["Vmax", "Km", "V", "omega(Vmax)", "omega(V)", "proportional(concentration)"]
    assert "only their ratio Vmax/Km" in " ".join(population["sentences"])
    assert "a share of the value, however small" in done.stderr
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--times", "1,2"], "how exact measurements of concentration are"),
        (["--times", "1,x", *NOISE], "'x' is no number"),
        (["--times", "a=", *NOISE], "holds no time"),
        (["--times", "a=1", "--times", "a=2", *NOISE], "names 'a' twice"),
        (["--times", "2,1", *NOISE], "increase"),
        (["--times", "-1,1", *NOISE], "before the schedule's start"),
        (["--times", "1", "--proportional", "-0.1"], "no standard deviation"),
        (["--times", "1", "--additive", "effect=0.1"], "what is measured is concentration"),
        (["--times", "1", *NOISE, "--values", "CL=1"], "the parameters are ka, ke, V"),
        (["--times", "1", *NOISE, "--values", "ka=1000"], "its box is 0.05 to 20 /h"),
        (["--times", "1", *NOISE, "--spread", "ka=-1"], "no standard deviation between people"),
        (["--times", "1", *NOISE, "--known", "ka,ke,V"], "nothing is asked"),
        (["--times", "1", *NOISE, "--fraction", "stomach=0.8"], "stomach"),
        (["--times", "1", *NOISE, "--fraction", "gut=80"], "a share lies between"),
        (["--times", "1", *NOISE, "--backbone", "VanCauter"], "needs inputs"),
        (["--times", "1", *NOISE, "--do", "dose 1 mg -> stomach @ 0"], "stomach"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert done.stderr.startswith("homeostat: ")
    assert "Traceback" not in done.output


def test_the_picture_draws_what_was_found() -> None:
    backbone: Any = backbone_named("OneCompartmentOral")
    designs = {"rich": [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 24.0], "one": [4.0]}
    asked = Asked(additive={"": 0.1}, proportional={"": 0.1})
    found = identify(backbone, "dose 320 mg -> gut @ 0", designs, asked=asked, starts=0)
    axes = expected_errors_axes(found.person.designs, title="Two designs")
    assert isinstance(axes, Axes)
    lines = {gid: [line for line in axes.lines if line.get_gid() == gid] for gid in ("expected", "unseen", "factor")}
    rse = 100.0 * found.person.designs["rich"].rse.numpy()
    np.testing.assert_allclose(lines["expected"][0].get_xdata(), rse)
    assert len(lines["unseen"][1].get_xdata()) == 3  # one sample sees none of three by itself
    assert len(lines["factor"]) == 1
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ka", "ke", "V"]
    with pytest.raises(ValueError, match="designs of the same numbers"):
        expected_errors_axes({})

"""The wheel holds everything and works outside the repository; the pins are plain versions."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from training.people.tables.ohashi import TABLES

ROOT = Path(__file__).parents[1]
PACKAGES = ("physics", "learned", "hybrid", "stability", "training", "exchange", "twin", "homeostat")


def test_the_wheel_is_whole_and_imports_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "elsewhere")
    tables = {f"homeostat/data/ohashi/{name}" for name in ("ATTRIBUTION.md", *TABLES)}
    people = {f"physics/data/s2008/{name}" for name in ("vpatient_params.csv", "LICENSE", "ATTRIBUTION.md")}
    assert {f"{p}/py.typed" for p in PACKAGES} | {"homeostat/data/theophylline.csv", "homeostat_siblings.py"} | tables <= names
    assert people <= names
    # data, schemas, C and READMEs: whatever lies in a package's folder
    beside = [f for p in PACKAGES for f in (ROOT / p).rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert {f.relative_to(ROOT).as_posix() for f in beside} <= names
    for file in ("LICENSE", "NOTICE", "homeostat/data/ohashi/ATTRIBUTION.md", "physics/data/s2008/LICENSE"):
        assert any(n.endswith(f"licenses/{file}") for n in names), file
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (archive.read(n).decode() for n in names if n.endswith(".dist-info/METADATA"))
    assert "License-Expression: Apache-2.0 AND CC-BY-4.0 AND MIT" in metadata
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'elsewhere')!r})\n"
        + "".join(f"import {p}; assert 'elsewhere' in {p}.__file__\n" for p in PACKAGES)
        + "from training import read_nonmem\nfrom homeostat.data import THEOPHYLLINE_UNITS, ohashi, theophylline\n"
        "assert len(read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)) == 12\n"
        "from physics.shelf import s2008_people\nassert len(s2008_people()) == 30\n"
        "from training.people import read_ohashi\nassert len(read_ohashi(ohashi()).test) == 35\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pins_are_plain_and_cover_what_is_needed() -> None:
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values())
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[><=]", n)[0].lower() for n in needed} <= {p.lower() for p in pins}

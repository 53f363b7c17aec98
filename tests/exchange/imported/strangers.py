"""A stranger's FMU, built of `stranger.c` with whatever C compiler there is: van der Pol's oscillator with an input."""

import shutil
import subprocess
import zipfile
from pathlib import Path

SOURCE = Path(__file__).with_name("stranger.c")

UNITS = """<UnitDefinitions>
<Unit name="h"><BaseUnit s="1" factor="3600"/></Unit>
<Unit name="mg/L"><BaseUnit kg="1" m="-3" factor="1e-3"/></Unit>
<Unit name="mg"><BaseUnit kg="1" factor="1e-3"/></Unit>
<Unit name="furlong"><BaseUnit m="1" factor="201.168"/></Unit>
</UnitDefinitions>"""


def description(
    *,
    directional: bool = True,
    indicators: int = 0,
    kinds: tuple[str, ...] = ("ModelExchange", "CoSimulation"),
    units: str = UNITS,
) -> str:
    """Its modelDescription.xml. The unit mg is one that is stated wrongly, by a factor of 1,000."""
    slopes = ' providesDirectionalDerivative="true"' if directional else ""
    exchange = f'<ModelExchange modelIdentifier="vdp"{slopes}/>' if "ModelExchange" in kinds else ""
    slave = (
        '<CoSimulation modelIdentifier="vdp" canHandleVariableCommunicationStepSize="true"/>'
        if "CoSimulation" in kinds
        else ""
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<fmiModelDescription fmiVersion="2.0" modelName="van der Pol" guid="vdp" numberOfEventIndicators="{indicators}">
{exchange}{slave}{units}
<ModelVariables>
<ScalarVariable name="time" valueReference="0" causality="independent" variability="continuous"><Real unit="h"/></ScalarVariable>
<ScalarVariable name="x0" valueReference="1" causality="local" initial="exact"><Real unit="mg/L" start="2"/></ScalarVariable>
<ScalarVariable name="der(x0)" valueReference="2" causality="local"><Real derivative="2"/></ScalarVariable>
<ScalarVariable name="x1" valueReference="3" causality="local" initial="exact"><Real unit="furlong" start="0"/></ScalarVariable>
<ScalarVariable name="der(x1)" valueReference="4" causality="local"><Real derivative="4"/></ScalarVariable>
<ScalarVariable name="mu" valueReference="5" causality="parameter" variability="fixed"><Real start="1" min="0"/></ScalarVariable>
<ScalarVariable name="u" valueReference="6" causality="input"><Real unit="mg" start="0"/></ScalarVariable>
<ScalarVariable name="y" valueReference="7" causality="output"><Real unit="mg/L"/></ScalarVariable>
</ModelVariables>
<ModelStructure><Outputs><Unknown index="8"/></Outputs>
<Derivatives><Unknown index="3"/><Unknown index="5"/></Derivatives>
<InitialUnknowns><Unknown index="3"/><Unknown index="5"/><Unknown index="8"/></InitialUnknowns></ModelStructure>
</fmiModelDescription>"""


def compiler() -> str | None:
    """A C compiler."""
    return next((one for one in map(shutil.which, ("cc", "gcc", "clang")) if one), None)


def library(folder: Path, extra: str = "0.0") -> Path:
    """Its binary for this machine."""
    target = folder / "vdp.so"
    command = [
        str(compiler()),
        "-std=c99",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        f"-DEXTRA={extra}",
    ]
    subprocess.run([*command, str(SOURCE), "-o", str(target)], check=True)
    return target


def packed(target: Path, binary: Path | None, text: str) -> Path:
    """The FMU."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("modelDescription.xml", text)
        if binary is not None:
            archive.write(binary, "binaries/linux64/vdp.so")
    return target

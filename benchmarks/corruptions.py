"""Bundles that are not what was written: each is refused, or is what its bytes say, and neither takes more than was allowed.

`python -m benchmarks.corruptions --count 10000` makes a bundle, breaks it in as many ways, and asks of every file:
- `load` ends with a `ValueError` of one line that names the file, or with a model;
- changed bytes of the archive itself: the model is the one that was saved, to the last bit of everything that it holds;
- changed content under a manifest made right again: what is loaded, saved again, has the same content as the file, so that
  nothing was dropped, completed or read as something else; and the certificate is proved only where the weights, the people
  and the claim are those that it was made for;
- then `inspect`, `check` and, for one in four, `simulate` end well or with one sentence, and print nothing that a terminal would
  obey;
- no step takes longer than `--seconds`, and none more memory than `--megabytes` above the same on the ordinary file.
"""

import argparse
import hashlib
import io
import json
import random
import resource
import struct
import sys
import tempfile
import time
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from exchange import Bundle, Person, load, save
from homeostat.bundles.checked import examine_bundle
from homeostat.bundles.inspected import inspect_bundle
from homeostat.bundles.simulated import simulate_person
from homeostat.plain_text import json_shown, shown
from hybrid import Concentration, Dose, HybridModel, Mesh, Schedule, SimulationError
from learned import MLP, AdditiveProportional, Ensemble
from physics import LogNormalPopulation, OneCompartmentOral
from stability import certify, certify_step, lipschitz_bound
from training import Personal

Content = dict[str, bytes]
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 2.5, 1e308, -1e308, 5e-324, 1e-300, 10**19, "", "x", "1", "\x1b[2J", "a\nb", "\u202egnp", "é",
    "x" * 5000, [], {}, [0.5], [[]], {"a": 1}, [None], [[1.0, 2.0]], "NaN", -0.0,
)  # fmt: skip


def ordinary(seed: int = 11) -> Bundle:
    """Two members, three people, a certificate, and beside it a claim about a step and one about a member's layers."""
    g = torch.Generator().manual_seed(seed)
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.6, 0.2, 0.2], {"V": {"WT": (70.0, 1.0)}}),
        MLP(2, hidden=(4,), separable=True, state_scale=300.0, rate_scale=0.1),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    stack = Ensemble(2).stack(model, g)
    people = tuple(
        Person(name, Schedule((Dose("gut", 0.0, 300.0 + k), Dose("gut", 3.0, 50.0, duration=1.5))), {"WT": 60.0 + k}, (0.1 * k,))
        for k, name in enumerate(("Ada", "№ 2", "3"))
    )
    d, mode = stack.personal, 0.2 * torch.randn(2, 3, stack.personal, generator=g, dtype=torch.float64)
    spread = 0.1 * torch.eye(d, dtype=torch.float64).expand(2, 3, d, d).clone()
    known = Personal(mode, spread, torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool))
    scores = {"scores": {"hybrid": {"crps": 0.5, "nll": 1.3, "coverage_80": 0.81}}, "uncertainty": {}}
    about = {"table": "people.csv", "units": {"TIME": "h", "AMT": "mg", "DV": "mg/L"}, "settings.solver": "rk4"}
    plain = Bundle(stack, people, known, Mesh(0.5, 0.1), calibration=scores, provenance=about)
    system = plain.system()
    certificate, layers = certify(system), [w[1, 0] for w in system.weights]
    return replace(plain, claims=(certificate, certify_step(certificate, system, 0.1), lipschitz_bound(layers)))


def entries(path: Path) -> Content:
    """What is in a bundle's archive."""
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def packed(content: Mapping[str, bytes], *, rehash: bool = True) -> bytes:
    """The archive with these entries; `rehash`: under a manifest that is right again."""
    content = dict(content)
    manifest = _value_in(content.get("manifest.json", b"")) if rehash else None
    if isinstance(manifest, dict):  # what was changed is the manifest otherwise
        manifest["sha256"] = {n: hashlib.sha256(d).hexdigest() for n, d in content.items() if n != "manifest.json"}
        content["manifest.json"] = json.dumps(manifest).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _value_in(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


@dataclass(frozen=True)
class Corruption:
    """`kind`, the bytes of the file, and whether it is the archive that was changed (else its content, rehashed)."""

    kind: str
    data: bytes
    archive: bool


def _flipped(raw: bytes, rng: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _cut(raw: bytes, rng: random.Random) -> bytes:
    a, b = sorted((rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)))
    return rng.choice((raw[:a], raw[a:], raw[:a] + raw[b:], raw[:b] + raw[a:], raw + raw[a:b], raw[a:b] + raw))


def _headers(raw: bytes, rng: random.Random) -> bytes:
    """One number of a header of the archive becomes another."""
    data = bytearray(raw)
    marks = [k for k in range(len(raw) - 4) if raw[k : k + 4] in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")]
    at = rng.choice(marks) + rng.randrange(4, 44)
    value = rng.choice((0, 1, 8, 9, 12, 14, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
    for k, byte in enumerate(value.to_bytes(4, "little")[: rng.choice((1, 2, 4))]):
        if at + k < len(data):
            data[at + k] = byte
    return bytes(data)


def _leaf(value: Any, rng: random.Random, new: Any) -> Any:
    """One value anywhere in a JSON value becomes another, disappears, or moves beside itself."""
    at, key = {"": value}, ""
    while isinstance(at[key], dict | list) and at[key] and rng.random() > 0.1:
        at = at[key]
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
    act = rng.random()
    if act < 0.75 or key == "":
        old = at[key]
        number = isinstance(old, int | float) and not isinstance(old, bool)
        at[key] = old * rng.choice((-1, 2, 1 + 1e-12, 1e6)) if number and rng.random() < 0.4 else new
    elif act < 0.85:
        del at[key]
    elif isinstance(at, dict):
        at[rng.choice(("surprise", "\x1b[31m", f"{key} "))] = at[key]
    else:
        at.insert(key, at[key])
    return at[""] if "" in at and key == "" else value


def _json(content: Content, rng: random.Random) -> Content:
    name = rng.choice(("model.json", "model.json", "proof.json", "calibration.json", "manifest.json"))
    value = json.loads(content[name])
    for _ in range(rng.choice((1, 1, 2))):
        if isinstance(value, dict | list) and value:
            value = _leaf(value, rng, rng.choice(VALUES))
    return {**content, name: json.dumps(value, indent=1, ensure_ascii=rng.random() < 0.2).encode("utf-8", "surrogatepass")}


def _text(content: Content, rng: random.Random) -> Content:
    name = rng.choice(("model.json", "proof.json", "calibration.json", "manifest.json"))
    data = bytearray(content[name])
    for _ in range(rng.choice((1, 1, 3))):
        data[rng.randrange(len(data))] = rng.choice(b'0123456789.-eE"{}[],: \n\x00\xff')
    return {**content, name: bytes(data)}


def _tensor(content: Content, rng: random.Random) -> Content:
    data = bytearray(content["weights.safetensors"])
    size = int.from_bytes(data[:8], "little")
    if rng.random() < 0.5:  # in the values
        at = 8 + size + 8 * rng.randrange((len(data) - 8 - size) // 8)
        data[at : at + 8] = struct.pack("<d", rng.choice((0.0, -1.0, 1e308, 5e-324, float("nan"), float("inf"), rng.gauss(0, 1))))
    elif rng.random() < 0.5:  # in the names
        for _ in range(rng.choice((1, 2))):
            data[rng.randrange(8 + size)] = rng.randrange(256)
    else:
        header = json.loads(data[8 : 8 + size])
        header = _leaf(header, rng, rng.choice(VALUES))
        text = json.dumps(header).encode("utf-8", "surrogatepass")
        data = bytearray(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return {**content, "weights.safetensors": bytes(data)}


def _entry(content: Content, rng: random.Random) -> Content:
    name = rng.choice(list(content))
    rest = {n: d for n, d in content.items() if n != name}
    stray = rng.choice(("evil.py", "../../x", "model.json ", "MODEL.JSON"))
    return rng.choice((rest, {**content, stray: b"1"}, {**content, name: b""}))


def bombs(content: Content, megabytes: int = 200) -> dict[str, bytes]:
    """Files of some kilobytes or megabytes that become gigabytes, or keep a reader busy; `megabytes` of the largest before."""
    many = megabytes * 10**6
    model, proof = json.loads(content["model.json"]), json.loads(content["proof.json"])

    def with_entry(name: str, data: bytes) -> bytes:
        return packed({**content, name: data})

    def lying(claim: int) -> bytes:
        """An entry that holds far more than the archive says."""
        raw = packed({**content, "calibration.json": b"[" + b" " * many + b"]"})
        directory = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"calibration.json"))
        local = raw.index(b"calibration.json") - 30
        data = bytearray(raw)
        data[directory + 24 : directory + 28] = data[local + 22 : local + 26] = claim.to_bytes(4, "little")
        return bytes(data)

    def header(text: bytes, claim: int | None = None) -> bytes:
        size = len(text) if claim is None else claim
        return with_entry("weights.safetensors", size.to_bytes(8, "little") + text)

    def overlapping() -> bytes:
        """Thousands of directory entries that all point to the same bytes (Fifield, WOOT 2019)."""
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
        kernel = squeeze.compress(b" " * (many // 10)) + squeeze.flush()
        head = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 33, 0, len(kernel), many // 10, 1, 0) + b"a"
        one = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 33, 0, len(kernel), many // 10, 1, 0, 0, 0, 0, 0, 0)
        count = many // 10_000
        directory = (one + b"a") * count
        at = len(head) + len(kernel)
        end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(directory), at, 0)
        return head + kernel + directory + end

    def lists(text: bytes) -> bytes:
        return text * (many // 10 // len(text))

    empties = b'{"a": [' + lists(b"[],") + b"[]]}"
    person = model["people"][0]
    dose = person["schedule"]["doses"][0]
    crowd = {**model, "people": [{**person, "id": str(k)} for k in range(many // 4000)]}
    busy = {**person, "schedule": {**person["schedule"], "doses": [dose] * (many // 1000)}}
    doses = {**model, "people": [busy, *model["people"][1:]]}
    small = {**model, "mesh": {**model["mesh"], "step": 1e-9, "first": 1e-9}}
    first, *others = proof["claims"]
    widened = {**first, "claim": {**first["claim"], "multipliers": [[0.0] * (many // 20)]}}
    wide = {**proof, "claims": [widened, *others]}
    crowded = {**proof, "claims": [first] * (many // 4000)}
    tensors = {f"personal.{k}": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]} for k in range(many // 1000)}
    return {
        "blanks": with_entry("calibration.json", b"{" + b" " * many + b"}"),
        "zeros as weights": with_entry("weights.safetensors", bytes(many)),
        "blanks in manifest.json": packed({**content, "manifest.json": b" " * many + content["manifest.json"]}, rehash=False),
        "more than the archive says": lying(100),
        "a little more than the archive says": lying(2**24),
        "empty lists": with_entry("calibration.json", empties),
        "empty lists in model.json": with_entry("model.json", empties),
        "empty objects": with_entry("calibration.json", b'{"a": [' + lists(b"{},") + b"{}]}"),
        "numbers": with_entry("calibration.json", b'{"a": [' + lists(b"1,") + b"1]}"),
        "short texts": with_entry("calibration.json", b'{"a": [' + lists(b'"\xc3\xa9\xc3\xa8",') + b"1]}"),
        "a wide character": with_entry("calibration.json", b'{"a": "' + b"x" * (many // 8) + "𝕏".encode() + b'"}'),
        "nesting": with_entry("calibration.json", b'{"a":' * 10**6),
        "nested lists": with_entry("proof.json", b"[" * 10**7),
        "a number of ten million digits": with_entry("calibration.json", b'{"a": ' + b"9" * 10**7 + b"}"),
        "one name, many times": with_entry("calibration.json", b"{" + lists(b'"a":1,') + b'"a":1}'),
        "names of tensors that claim 2^60 bytes": header(b"{}", 2**60),
        "names of tensors without end": header(b'{"a":' + b" " * many + b"}"),
        "many tensors": header(json.dumps(tensors).encode()),
        "a tensor of 2^60 numbers": header(b'{"a":{"dtype":"F64","shape":[1152921504606846976],"data_offsets":[0,8]}}'),
        "a tensor of many axes": header(b'{"a":{"dtype":"F64","shape":[' + b"1," * 10**5 + b'1],"data_offsets":[0,8]}}'),
        "many entries": _many_entries(content, many // 4000),
        "overlapping entries": overlapping(),
        "a crowd": with_entry("model.json", json.dumps(crowd).encode()),
        "many doses": with_entry("model.json", json.dumps(doses).encode()),
        "wide multipliers": with_entry("proof.json", json.dumps(wide).encode()),
        "many claims": with_entry("proof.json", json.dumps(crowded).encode()),
        "wide layers": _hidden(content, [4096] * 3),
        "many layers": _hidden(content, [1] * 20_000),
        "small steps": with_entry("model.json", json.dumps(small).encode()),
    }


def _many_entries(content: Content, count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for k in range(count):
            archive.writestr(zipfile.ZipInfo(f"{k}"), b"")
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def _hidden(content: Content, hidden: list[int]) -> bytes:
    about = json.loads(content["model.json"])
    about["structure"]["residual"]["config"]["hidden"] = hidden
    return packed({**content, "model.json": json.dumps(about).encode()})


KINDS: dict[str, Callable[[Content, bytes, random.Random], Corruption]] = {
    "bits": lambda c, raw, rng: Corruption("bits", _flipped(raw, rng), True),
    "cuts": lambda c, raw, rng: Corruption("cuts", _cut(raw, rng), True),
    "headers": lambda c, raw, rng: Corruption("headers", _headers(raw, rng), True),
    "unhashed": lambda c, raw, rng: Corruption("unhashed", packed(_text(c, rng), rehash=False), True),
    "values": lambda c, raw, rng: Corruption("values", packed(_json(c, rng)), False),
    "text": lambda c, raw, rng: Corruption("text", packed(_text(c, rng)), False),
    "tensors": lambda c, raw, rng: Corruption("tensors", packed(_tensor(c, rng)), False),
    "entries": lambda c, raw, rng: Corruption("entries", packed(_entry(c, rng)), False),
}


def corruption(content: Content, raw: bytes, seed: int) -> Corruption:
    """The corruption of this number: the kinds in turn, rehashed values more often."""
    rng = random.Random(seed)
    kinds = [*KINDS, "values", "values", "text", "tensors"]
    return KINDS[kinds[seed % len(kinds)]](content, raw, rng)


def says(full: Content, file: Content) -> bool:
    """Does `full` say all that the file says, numbers by their value and tensors by their bits? It may say more: what a bundle
    of before left out. The manifest is not compared, nor are the arrays beside the claims, which are made from the weights.
    """
    if full.keys() != file.keys():
        return False
    for name in file.keys() - {"manifest.json", "weights.safetensors"}:
        x, y = json.loads(full[name]), json.loads(file[name])
        if name == "proof.json":
            x, y = ([{k: v for k, v in one.items() if k != "system"} for one in value["claims"]] for value in (x, y))
        if not _within(x, y):
            return False
    s, t = (_named_tensors(c["weights.safetensors"]) for c in (full, file))
    return s.keys() == t.keys() and all(s[k].dtype == t[k].dtype and torch.equal(s[k], t[k]) for k in s)


def _within(full: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(full, dict) and all(k in full and _within(full[k], v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(full, list) and len(full) == len(part) and all(map(_within, full, part))
    if isinstance(full, bool) != isinstance(part, bool):
        return False
    # a whole number of eighteen digits is read as the nearest number of float64
    return float(full) == float(part) if isinstance(full, float) and isinstance(part, int | float) else bool(full == part)


def _named_tensors(data: bytes) -> dict[str, torch.Tensor]:
    import safetensors.torch

    return safetensors.torch.load(data)


def judge(found: Corruption, path: Path, content: Content) -> tuple[str, str | None]:
    """"refused", "the same" or "as it says", and what is wrong with that, if anything is."""
    path.write_bytes(found.data)
    try:
        bundle = load(path)
    except ValueError as error:
        told = str(error)
        if "\n" in told or str(path) not in told or len(told) > 2000 or shown(told, lines=False) != told:
            return "refused", f"not one plain sentence: {told[:300]!r}"
        return "refused", None
    again = entries(save(bundle, path.with_suffix(".again")))
    if found.archive:
        same = says(again, content) and says(content, again)
        return "the same", None if same else "another model out of a changed archive"
    mine = entries(path)
    # what a bundle of before did not say is completed; a value is never dropped
    if not says(again, mine):
        return "as it says", "what was loaded is not what the file says"
    return "as it says", _used(bundle, path, content, mine, deep=zlib.crc32(found.data) % 4 == 0)


def _used(bundle: Bundle, path: Path, content: Content, mine: Content, deep: bool = True) -> str | None:
    """What is wrong with what the commands make of it, if anything is."""
    if bundle.certificate:
        checked = examine_bundle(path)
        stronger = {"certificate": ("rate", 1.0), "step": ("factor", -1.0), "lipschitz": ("bound", -1.0)}
        then, now = ({one["claim"]["kind"]: one["claim"] for one in json.loads(c["proof.json"])["claims"] if "claim" in one}
                     for c in (content, mine))  # fmt: skip
        for kind, (name, sign) in stronger.items():
            if checked.good and kind in now and sign * now[kind][name] > sign * then[kind][name]:
                return f"proved, at another claim: {checked.reason[:200]}"

    def simulated() -> tuple[dict[str, Any], str]:
        return simulate_person(path, "", person=None, until=None, points=3, level=0.8, picture=None)

    for what in (lambda: inspect_bundle(path), *([simulated] if deep else ())):
        try:
            about, text = what()
        except (ValueError, SimulationError):
            continue
        out = shown(text) + json_shown(json.dumps(about, ensure_ascii=False))
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" for c in out):
            return "a control character reaches the terminal"
    return None


def peak() -> float:
    """Megabytes that this process has ever held."""
    status = Path("/proc/self/status")
    if status.exists():  # the count of `getrusage` begins with what the parent held
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--megabytes", type=float, default=200.0)
    parser.add_argument("--bomb", type=int, default=100, help="megabytes that the largest bombs unpack to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = save(ordinary(), Path(folder) / "a.twin")
        content, raw = entries(path), path.read_bytes()
        _used(load(path), path, content, content)  # everything that is imported and made once
        wrong, told, slowest = [], Counter[tuple[str, str]](), (0.0, "")
        try:
            for seed in range(given.seed, given.seed + given.count):
                found = corruption(content, raw, seed)
                began = time.perf_counter()
                try:
                    verdict, fault = judge(found, path, content)
                except Exception as error:
                    verdict, fault = "an exception", f"{type(error).__name__}: {error}"[:300]
                took = time.perf_counter() - began
                slowest = max(slowest, (took, f"{found.kind} {seed}"))
                told[found.kind, verdict] += 1
                if fault or took > given.seconds:
                    wrong.append(f"{found.kind} {seed}: {fault or f'{took:.1f} s'}")
                    print(wrong[-1], flush=True)
        except KeyboardInterrupt:
            print("interrupted: what was seen so far")
        for (kind, verdict), count in sorted(told.items()):
            print(f"{kind:<12} {verdict:<14} {count}")
        print(f"slowest {slowest[0]:.2f} s ({slowest[1]}), peak {peak():.0f} MB")
        wrong += _bombs(content, Path(folder), given)
    print(f"{len(wrong)} of {sum(told.values())} corruptions and the bombs are wrong")
    return 1 if wrong else 0


def _bombs(content: Content, folder: Path, given: argparse.Namespace) -> list[str]:
    """Every bomb in a process of its own, beside the ordinary file in one."""
    import subprocess

    path = save(ordinary(), folder / "ordinary.twin")
    code = (
        "import sys, time\nfrom pathlib import Path\nimport torch\ntorch.set_num_threads(1)\n"
        "from exchange import load\nfrom homeostat.bundles.simulated import simulate_person\nbegan = time.perf_counter()\n"
        "try:\n    bundle = load(Path(sys.argv[1]))\n    said = 'loaded'\n"
        "except ValueError as error:\n    said = str(error)\n"
        "from benchmarks.corruptions import peak\nprint(time.perf_counter() - began, peak(), said[:150])\n"
    )

    def asked(file: Path) -> tuple[float, float, str]:
        done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=300)
        took, most, told = done.stdout.split(" ", 2) if done.returncode == 0 else ("inf", "inf", done.stderr[-300:])
        return float(took), float(most), told.strip()

    _, base, _ = asked(path)
    wrong = []
    for name, data in bombs(content, given.bomb).items():
        file = folder / "bomb.twin"
        file.write_bytes(data)
        took, most, told = asked(file)
        told = told.replace(str(file), "…")[:110]
        line = f"{name:<40} {len(data) / 1e6:8.3f} MB  {took:6.2f} s  +{most - base:5.0f} MB  {told}"
        print(line, flush=True)
        if took > 1.0 or most - base > given.megabytes:
            wrong.append(line)
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())

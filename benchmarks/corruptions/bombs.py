"""Files of a few bytes that would fill a memory."""

import io
import json
import struct
import zipfile
import zlib

from benchmarks.corruptions.content import Content, packed


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
        "an optional entry": packed(_optional(content, {"alarms.json": b" " * many})),
        "many optional entries": packed(_optional(content, {f"x{k}.json": b" " * (many // 40) for k in range(40)})),
        "optional entries of long names": packed(_optional(content, {"x" * 2000 + f"{k}.json": b"" for k in range(20)})),
        "a card of blanks": with_entry("card.md", b" " * many),
        "a signature of blanks": packed({**content, "signature.json": b" " * many}),
        "a manifest of names": packed(_optional(content, {f"x{k}.json": b"" for k in range(200)})),
        "wide layers": _hidden(content, [4096] * 3),
        "many layers": _hidden(content, [1] * 20_000),
        "small steps": with_entry("model.json", json.dumps(small).encode()),
    }


def _optional(content: Content, new: Content) -> Content:
    """With entries that the manifest calls optional."""
    manifest = json.loads(content["manifest.json"])
    manifest["optional"] = [*manifest["optional"], *new]
    return {**content, **new, "manifest.json": json.dumps(manifest).encode()}


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

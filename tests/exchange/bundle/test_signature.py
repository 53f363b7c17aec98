"""A signature: of every byte of every entry, by one key."""

import json
import random
import zipfile
from pathlib import Path

import pytest

from benchmarks.corruptions.content import entries, ordinary, packed
from exchange import content_hash, load, new_key, save, sign, signed_by, verify

pytest.importorskip("cryptography", reason="signatures need the extra `sign`")
FORMAT_2 = Path(__file__).parent / "format_2"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return folder / "a.key", new_key(folder / "a.key")


@pytest.fixture(scope="module")
def signed(keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signed") / "a.twin"
    return sign(save(ordinary(), path), keys[0], path.with_name("b.twin"))


def test_what_is_signed_is_verified_and_loads(signed: Path, keys: tuple[Path, Path]) -> None:
    assert verify(signed, keys[1]) == content_hash(load(signed)) == content_hash(ordinary())
    assert (keys[0].stat().st_mode & 0o077) == 0
    named = signed_by(signed)
    assert named is not None
    assert len(named) == 64
    plain = entries(signed.with_name("a.twin"))
    assert {n: d for n, d in entries(signed).items() if n != "signature.json"} == plain
    # the same content and key, the same signature
    assert sign(signed, keys[0], signed.with_name("c.twin")).read_bytes() == signed.read_bytes()


def test_saved_anew_it_is_not_signed(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    again = save(load(signed), tmp_path / "a.twin")
    assert signed_by(again) is None
    with pytest.raises(ValueError, match=r"a\.twin: it is not signed"):
        verify(again, keys[1])


def test_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    other = new_key(tmp_path / "b.key")
    with pytest.raises(ValueError, match=r"it is signed with the key [0-9a-f]{16}…, and the key in"):
        verify(signed, other)
    # the other's name on the first one's signature
    content = entries(signed)
    raw = signed_by(sign(signed, tmp_path / "b.key", tmp_path / "other.twin"))
    content["signature.json"] = json.dumps({**json.loads(content["signature.json"]), "public_key": raw}).encode()
    (tmp_path / "c.twin").write_bytes(packed(content, rehash=False))
    with pytest.raises(ValueError, match="was changed after it was signed"):
        verify(tmp_path / "c.twin", other)


def test_a_changed_byte_is_refused(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """Of any entry under a manifest made right again; and of the file, unless every entry is what it was."""
    path, content, raw, rng = tmp_path / "c.twin", entries(signed), signed.read_bytes(), random.Random(5)
    told = list[str]()
    for name in content:
        data = bytearray(content[name])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(packed({**content, name: bytes(data)}))
        with pytest.raises(ValueError, match=r"c\.twin: "):
            verify(path, keys[1])
    for _ in range(300):
        data = bytearray(raw)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
        try:
            verify(path, keys[1])
        except ValueError as error:
            told.append(str(error))
        else:
            assert entries(path) == content
    assert len(told) > 200
    assert all(one.startswith(f"{path}: ") and "\n" not in one for one in told)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b'{"algorithm": "none", "public_key": "", "signature": ""}', b"\xff", b"[" * 5000],
    ids=lambda d: repr(d[:9]),
)
def test_a_signature_of_rubbish_is_refused(signed: Path, keys: tuple[Path, Path], tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c.twin").write_bytes(packed({**entries(signed), "signature.json": data}, rehash=False))
    with pytest.raises(ValueError, match=r"c\.twin: its signature cannot be read"):
        verify(tmp_path / "c.twin", keys[1])


def test_slips(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no public key can be read"):
        verify(signed, keys[0])
    with pytest.raises(ValueError, match="no private key can be read"):
        sign(signed, keys[1], tmp_path / "x.twin")
    with pytest.raises(ValueError, match="no such file"):
        verify(signed, tmp_path / "none.pub")
    with pytest.raises(ValueError, match="is there already"):
        new_key(keys[0])
    with pytest.raises(ValueError, match="format 2 carries no signature"):
        sign(FORMAT_2 / "claims.twin", keys[0], tmp_path / "x.twin")
    assert list(tmp_path.iterdir()) == []
    with zipfile.ZipFile(signed) as archive:
        assert archive.namelist()[0] == "manifest.json"

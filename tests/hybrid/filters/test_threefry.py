"""Numbers that are a function of names alone: the cipher's published answers, and nobody's numbers depend on company."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hybrid.filters.threefry import bits_of, keyed_normals, threefry


def word(text: str) -> torch.Tensor:
    value = int(text, 16)
    return torch.tensor(value - (1 << 64) if value >> 63 else value)


@pytest.mark.parametrize(
    "known",  # threefry2x64, 20 rounds, of kat_vectors of Random123 1.14: counter, key, result
    [
        ("0" * 16, "0" * 16, "0" * 16, "0" * 16, "c2b6e3a8c2c69865", "6f81ed42f350084d"),
        ("f" * 16, "f" * 16, "f" * 16, "f" * 16, "e02cb7c4d95d277a", "d06633d0893b8b68"),
        (
            *("243f6a8885a308d3", "13198a2e03707344", "a4093822299f31d0", "082efa98ec4e6c89"),
            *("263c7d30bb0f0af1", "56be8361d3311526"),
        ),
    ],
)
def test_the_cipher_gives_the_published_answers(known: tuple[str, ...]) -> None:
    c0, c1, k0, k1, r0, r1 = map(word, known)
    assert [v.item() for v in threefry((k0, k1), (c0, c1))] == [r0.item(), r1.item()]


def test_the_numbers_are_standard_normal() -> None:
    # 2 × 50 × 4 × 500 = 200,000 numbers; a fixed seed, so the p-values are constants: any above 1e-3 is unsuspicious
    found = keyed_normals(7, torch.arange(50), bits_of(torch.arange(50) / 8.0), (2, 4, 500), 1).numpy()
    assert stats.kstest(found.ravel(), "norm").pvalue > 1e-3
    for one, two in (
        (found[0], found[1]),
        (found[:, :-1], found[:, 1:]),
        (found[:, :, 0], found[:, :, 1]),
        (found[..., :-1], found[..., 1:]),
    ):
        count = one.size
        assert abs((one * two).sum()) / np.sqrt(count) < 3.5  # uncorrelated along every axis


@settings(max_examples=30, deadline=None)
@given(st.integers(-(2**62), 2**62), st.integers(0, 2**40), st.integers(1, 7), st.integers(0, 15))
def test_nobodys_numbers_depend_on_company(seed: int, who: int, others: int, purpose: int) -> None:
    keys = torch.tensor([who, *range(others)])
    moments = bits_of(torch.linspace(0.5, 3.0, others + 1, dtype=torch.float64))
    alone = keyed_normals(seed, keys[:1], moments[:1], (1, 2, 9), purpose)
    among = keyed_normals(seed, keys.flip(0), moments.flip(0), (3, 4, 17), purpose)
    assert torch.equal(among[:1, -1:, :2, :9], alone)


def test_other_names_give_other_numbers() -> None:
    def of(seed: int = 0, who: int = 0, when: float = 0.0, purpose: int = 0) -> list[float]:
        moment = bits_of(torch.tensor([when], dtype=torch.float64))
        return keyed_normals(seed, torch.tensor([who]), moment, (1, 1, 4), purpose).flatten().tolist()

    every = [of(), of(seed=1), of(who=1), of(when=1.0), of(when=np.nextafter(0.0, 1.0)), of(purpose=1)]
    assert len({tuple(v) for v in every}) == len(every)
    assert of(when=-0.0) == of()

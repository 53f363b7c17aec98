"""Normal numbers that are a function of names alone: whose, when, of which member and particle.

A generator that counts gives a person other numbers as soon as somebody else is drawn before them. Here each number is the image
of its own key and counter under a block cipher, Threefry-2x64 of 20 rounds: the same alone and among ten thousand, in any order,
after a restart, on every processor and device (the bits of the cipher; the last bits of Φ⁻¹ are the device's own).

Source: Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC11 (2011), § 3.
"""

import torch
from torch import Tensor

_ROTATIONS = (16, 42, 12, 31, 16, 32, 24, 21)
_PARITY = 0x1BD11BDAA9FC1A22
_ROUNDS = 20


def threefry(
    key: tuple[Tensor, Tensor],  # whole numbers, (...) each
    counter: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Threefry-2x64-20: 128 bits of the counter under 128 bits of the key, as int64, whose sign is the highest bit."""
    keys = (*key, key[0] ^ key[1] ^ _PARITY)
    a, b = counter[0] + keys[0], counter[1] + keys[1]  # int64 wraps, as the cipher wants
    for r in range(_ROUNDS):
        a = a + b
        turn = _ROTATIONS[r % 8]
        b = ((b << turn) | ((b >> (64 - turn)) & ((1 << turn) - 1))) ^ a
        if r % 4 == 3:
            s = r // 4 + 1
            a, b = a + keys[s % 3], b + keys[(s + 1) % 3] + s
    return a, b


def keyed_normals(
    seed: int,
    keys: Tensor,  # (N,) int64, whose
    moments: Tensor,  # (N,) int64, when
    shape: tuple[int, int, int],  # M, z, P
    purpose: int,  # what for, 0 … 15
) -> Tensor:  # (M, N, z, P) float64
    """Standard normal numbers of N people for M members, z components and P particles.

    Law: a number depends on the seed, on its own person's key and moment, on member, component, particle and purpose, and on
    nothing else: neither on N nor on M, z and P.
    """
    M, z, P = shape
    device = keys.device

    def along(count: int, axis: int) -> Tensor:
        return torch.arange(count, device=device).view(-1, *[1] * (3 - axis))

    half = (P + 1) // 2  # a block gives two numbers
    index = (along(M, 0) << 40) + (along(z, 2) << 28) + (purpose << 24) + along(half, 3)  # (M, 1, z, half)
    who, when = keys.view(-1, 1, 1), moments.view(-1, 1, 1)
    pair = threefry((torch.full_like(who, seed), who), (when, index))
    bits = torch.stack(pair, -1).flatten(-2)[..., :P]  # (M, N, z, P)
    share = (((bits >> 11) & ((1 << 53) - 1)).to(torch.float64) + 0.5) * 2.0**-53
    return torch.special.ndtri(share.contiguous())


def bits_of(
    time: Tensor,  # (N,)
) -> Tensor:  # (N,) int64
    """A time as a whole number: its own 64 bits, 0 for −0."""
    return (time.detach().to(torch.float64) + 0.0).contiguous().view(torch.int64)

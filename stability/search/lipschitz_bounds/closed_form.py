"""A Lipschitz bound in closed form, layer by layer, for slopes about a centre: never above the product of norms."""

from collections.abc import Sequence

import numpy as np

from stability.lure import Array
from stability.proof.loop_shift import centre_and_radius


def closed_form(
    weights: Sequence[Array],  # (out, in)
    centre: Array,  # c (H,): slopes are in [c − r, c + r]
    radius: Array,  # r > 0 (H,)
    room: float = 0.0,
    skip: Array | None = None,  # (out, in)
) -> tuple[float, Array]:
    """γ² and the μ (H,) of `loop_shift` that prove it, layer by layer, without a search.

    Let δz' X⁻¹ δz ≤ |δx|² for the layer before (X = I for x) and S = W X Wᵀ. For any diagonal 0 ≺ M ≺ S⁻¹

        X⁺ = C (S⁻¹ − M)⁻¹ C + R M⁻¹ R   has   δz⁺' X⁺⁻¹ δz⁺ + Σ m_j (δv_j² − q_j²) ≤ δv' S⁻¹ δv ≤ |δx|²

    (minimise the left side over all C δv + R q = δz⁺), and γ² = ‖W_L X W_Lᵀ‖, μ = γ² m. With m_j = r_j/(s (r_j + d_j)), s = ‖S‖,
    and b the steepest |c| + r of the layer, X⁺ ⪯ s b² I for every d_j between |c_j| and (b² − c_j² − r_j² − |c_j| r_j)/r_j: the
    bound never exceeds the product of norms and steepest slopes. Taken is the d_j there that is nearest to b, so that m → 0 as
    r → 0, and X⁺ is what the linear layer gives. The same with S_jj in the place of s, and a factor that keeps M ≺ S⁻¹, is better
    where few units are not linear; the smaller γ counts. `room` raises every X by so much, for F ≻ 0 with room to spare. A linear
    term is carried along as a layer of slope one, or added by the triangle inequality.
    Source: for slopes in [0, β] the first is ECLipsE-Fast (Xu & Sivaranjani, NeurIPS 2024); the rest is ours.
    """
    found = []
    for by_unit in (False, True):
        plain = layer_by_layer(weights, centre, radius, room, None, by_unit)
        found.append(plain)
        if skip is not None:
            network, linear = float(np.sqrt(plain[0])), float(np.linalg.norm(skip, 2))
            # |Sx + y|² ≤ (1 + 1/τ)|Sx|² + (1 + τ)|y|² with τ = ‖S‖/γ
            found[-1] = (network + linear) ** 2, plain[1] * (1.0 + linear / max(network, 1e-150))
            found.append(layer_by_layer(weights, centre, radius, room, skip, by_unit))
    return min(found, key=lambda pair: pair[0])


def layer_by_layer(
    weights: Sequence[Array], centre: Array, radius: Array, room: float, skip: Array | None, by_unit: bool
) -> tuple[float, Array]:
    n = weights[0].shape[1]
    z, x = np.eye(n), np.eye(n)  # factors: X = F Fᵀ with F = z, and with a skip F = [z; x]
    multipliers, at = np.zeros(len(centre)), 0
    for W in weights[:-1]:
        here = slice(at, at + W.shape[0])
        c, r, v = centre[here], radius[here], W @ z
        size, b = np.abs(c), float((np.abs(c) + r).max())
        d = np.maximum(np.minimum(b, (b * b - c * c - r * r - size * r) / r), np.maximum(size, 1e-7 * r))
        least_s = max(1e-30 * float(np.linalg.norm(z, 2)) ** 2, 1e-150)
        if by_unit:
            m = r / (np.maximum((v * v).sum(1), least_s) * (r + d))
            m /= max(1.0, 2.0 * float(np.linalg.norm(np.sqrt(m)[:, None] * v, 2)) ** 2)
        else:
            m = r / (max(float(np.linalg.norm(v, 2)) ** 2, least_s) * (r + d))
        # (S⁻¹ − M)⁻¹ = v (I − vᵀMv)⁻¹ vᵀ
        root = np.linalg.cholesky(np.eye(v.shape[1]) - v.T @ (m[:, None] * v))
        parts = [np.concatenate([c[:, None] * np.linalg.solve(root, v.T).T, np.diag(r / np.sqrt(m))], axis=1)]
        if skip is not None:
            parts.append(np.concatenate([np.linalg.solve(root, x.T).T, np.zeros((n, len(c)))], axis=1))
        stacked = np.concatenate(parts) * np.sqrt(1.0 + room)
        if stacked.shape[1] > stacked.shape[0]:  # fewer columns, the same F Fᵀ
            stacked = np.asarray(np.linalg.qr(stacked.T, mode="r"), dtype=np.float64).T
        z, x = stacked[: len(c)], stacked[len(c) :]
        multipliers[here], at = m, at + W.shape[0]
    last = weights[-1] @ z if skip is None else weights[-1] @ z + skip @ x
    # Where the network is nothing, so small a γ that μ is still a number.
    square = max(float(np.linalg.norm(last, 2)) ** 2, 1e-99 / multipliers.min(initial=1.0)) * (1.0 + room)
    return square, multipliers * square


def closed_between(
    weights: Sequence[Array], lower: Array, upper: Array, skip: Array | None, largest: float, room: float
) -> tuple[float, Array, Array, Array]:
    """γ², μ, c and r of the closed form for slopes in [α, β]."""
    centre, radius = centre_and_radius(lower, upper, max(largest, 1e-12))
    return *closed_form(weights, centre, radius, room, skip), centre, radius

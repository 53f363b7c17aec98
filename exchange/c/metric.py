"""The numbers of a certificate for whoever asks the C itself: its metric P and its rate λ."""

from exchange.bundle.bundle import Bundle
from exchange.bundle.units import units_of
from exchange.c.numbers import Real, literal, table
from stability import Certificate


def certificate_text(bundle: Bundle, prefix: str, real: Real) -> str:
    """`PREFIX_CERTIFIED_RATE` and `PREFIX_metric` (n·n, row by row): v·P(J + λ)v is at most 0 for every v, where it is about.

    "" without a certificate, in single precision, of which none speaks, and where it was made in other units than the model's.
    """
    claim = bundle.certificate
    if not isinstance(claim, Certificate) or real != "double":
        return ""
    made, now = bundle.units_made_in(claim), units_of(bundle.model)
    if any(made.get(kind, now[kind]) != now[kind] for kind in ("time", "states")):
        return ""
    remark = (
        f"/* The certificate's rate, per {bundle.model.backbone.time_unit}, and its metric P, row by row: for theta and c of the "
        "bundle's people v.P(J + rate)v <= 0 for every v. */"
    )
    rate = f"#define {prefix}_CERTIFIED_RATE {literal(float(claim.rate), real)}"
    return "\n".join([remark, rate, table(f"{prefix}_metric", claim.metric.reshape(-1), real)])

"""A twin of a model whose measurements have an offset and an input in them."""

import pytest

from hybrid import HybridModel, Offset
from tests.twin.builders import NOW, bundle_of, driven, linear_bundle, measured
from twin import Twin


def test_a_twin_takes_the_offset_off_what_was_measured() -> None:
    """y = a + 1 + .25 u, and so every measurement and the estimate are higher by that, and the evidence is the same."""
    plain = linear_bundle()
    model = plain.model
    observation = Offset(model.observation, 1.0, channel="a", inputs={"u": 0.25})
    with_it = HybridModel(model.backbone, model.population, observation=observation, noise=model.noise, process=model.process)
    begun = [driven("P", 0.0, 2.0, name, name=name) for name in "uv"]
    found = []
    for bundle, more in ((plain, 0.0), (bundle_of(with_it), 1.5)):
        twin = Twin(bundle)
        results = [measured("P", t, y + more, f"m{t}", channel="a", unit="mg") for t, y in ((0.5, 1.2), (1.5, 1.9), (3.0, 2.2))]
        twin.arrive([*begun, *results], now=NOW)
        found.append(twin.estimate("P"))
    one, other = found
    assert other.evidence == pytest.approx(one.evidence)
    assert other.channels["a"].mean == pytest.approx(one.channels["a"].mean + 1.5)
    assert other.channels["b"].mean == pytest.approx(one.channels["b"].mean)

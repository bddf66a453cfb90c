"""The generator of random closed loops: varied, repeatable, defined, cheap; and simulation against reference on its cases."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers.random_systems import BOXES, ESCAPED, NETWORKS, TERMS, Family, choices, families, simulate_cases

from tubepilot.train.reachability.reference import integrate, reference
from tubepilot.train.reachability.simulation import loop_of

FAMILIES = families()


def test_families_cover_what_they_promise() -> None:
    names = " ".join(family.name for family in FAMILIES)
    for word in (*TERMS, *NETWORKS, *BOXES):
        assert word in names
    assert {len(f.example.states) for f in FAMILIES} == {1, 2, 3, 4}
    assert any(f.example.discrete for f in FAMILIES)
    assert any(f.example.delay_s[1] > 0 for f in FAMILIES)
    assert any(f.example.missed for f in FAMILIES)
    assert any(f.residual for f in FAMILIES)
    assert any(not f.hidden for f in FAMILIES)


def test_cases_are_repeatable_and_share_their_functions() -> None:
    for family, again in zip(FAMILIES, families(), strict=True):
        first, same, other = family.case(3), again.case(3), family.case(4)
        np.testing.assert_array_equal(first.initial_box, same.initial_box)
        np.testing.assert_array_equal(first.parameter_box, same.parameter_box)
        assert (first.parameter_box != other.parameter_box).any()
        assert loop_of(first, 2) == loop_of(other, 2)
        assert (first.initial_box[:, 0] <= first.initial_box[:, 1]).all()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_trajectories_are_defined_and_agree_with_the_reference(family: Family) -> None:
    """64 cases stay bounded; two ways through one case agree with proven enclosures to 1e-9."""
    rng = np.random.default_rng(5)
    cases = [family.case(seed) for seed in range(64)]
    given = [choices(case, rng, 4) for case in cases]
    samples = 1 if cases[0].discrete else 2
    states = simulate_cases(cases, given, samples)
    assert np.isfinite(states).all()
    assert np.abs(states).max() < ESCAPED / 10
    ready = reference(cases[7])
    for way in (0, 1):
        x0, p, w, delays, received = (a[way] for a in given[7])
        path = integrate(ready, x0, p, w, delays_s=delays, received=received)
        assert path.radius < 1e-9
        found = [[float(v.mid()) for v in path.at(Fraction(i, samples))] for i in range(4 * samples + 1)]
        np.testing.assert_allclose(states[7, way], found, rtol=0, atol=1e-9 if "abs" not in family.name else 1e-5)

"""Reweighted ridge: least squares without passes, a smaller mean error norm with them, never a look ahead."""

from __future__ import annotations

import numpy as np
import pytest

from tubepilot.train.prediction import HORIZON
from tubepilot.train.robust_ridge import apply, moments, robust_moments, solve

PAST = 3
RIDGE = 1e-9
Data = tuple[list[np.ndarray], list[np.ndarray], np.ndarray]


@pytest.fixture
def data() -> Data:
    """Two flights of a linear law of the past; in a tenth of the windows another law holds, with large outputs."""
    generator = np.random.default_rng(3)
    law = generator.normal(size=(PAST, HORIZON, 3))
    xs = [generator.normal(size=(count, PAST + 4 * HORIZON)).astype(np.float32) for count in (900, 700)]
    ys = [np.einsum("wn,nhk->whk", x[:, :PAST], law) for x in xs]
    for y in ys:
        y += 0.05 * generator.normal(size=y.shape)
        y[::10] *= -8.0
    return xs, [y.astype(np.float32) for y in ys], law


def mean_norm(weights: np.ndarray, xs: list[np.ndarray], ys: list[np.ndarray]) -> float:
    norms = [np.linalg.norm(y - apply(weights, x), axis=2).mean(axis=1) for x, y in zip(xs, ys, strict=True)]
    return float(np.concatenate(norms).mean())


def fitted(data: Data, passes: int) -> np.ndarray:
    xs, ys, _ = data
    return solve(robust_moments(xs, ys, PAST, RIDGE, passes), np.ones(2), PAST, RIDGE)


def test_without_passes_it_is_least_squares(data: Data) -> None:
    xs, ys, _ = data
    weights, h = fitted(data, 0), 17
    size = PAST + 4 * (h + 1)
    expected = np.linalg.lstsq(np.concatenate(xs)[:, :size].astype(float), np.concatenate(ys)[:, h].astype(float), rcond=None)[0]
    np.testing.assert_allclose(weights[h, :size], expected, atol=1e-4)


def test_passes_make_the_mean_error_norm_smaller_and_find_the_law_of_the_many(data: Data) -> None:
    xs, ys, law = data
    norms = [mean_norm(fitted(data, passes), xs, ys) for passes in (0, 1, 2)]
    assert norms[0] > norms[1] > norms[2]
    missed = [np.abs(np.moveaxis(fitted(data, passes)[:, :PAST], 0, 1) - law).max() for passes in (0, 2)]
    assert missed[1] < 0.3 * missed[0]


def test_rotor_speeds_after_a_step_have_no_weight(data: Data) -> None:
    weights = fitted(data, 2)
    for h in range(HORIZON):
        assert np.all(weights[h, PAST + 4 * (h + 1) :] == 0)


def test_a_weight_of_two_is_the_window_twice(data: Data) -> None:
    xs, ys, _ = data
    x, y = xs[0][:40], ys[0][:40]
    twice = moments(np.concatenate([x, x[:5]]), np.concatenate([y, y[:5]]), np.ones(45, np.float32))
    weighted = moments(x, y, np.where(np.arange(40) < 5, 2.0, 1.0).astype(np.float32))
    np.testing.assert_allclose(weighted.gram, twice.gram, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(weighted.cross, twice.cross, rtol=1e-4, atol=1e-3)
    assert weighted.weight == twice.weight == 45


def test_outputs_without_any_error_are_fitted_too(data: Data) -> None:
    xs, ys, _ = data
    zero = [np.zeros_like(y) for y in ys]
    weights = solve(robust_moments(xs, zero, PAST, RIDGE, 2), np.ones(2), PAST, RIDGE)
    assert np.all(weights == 0)

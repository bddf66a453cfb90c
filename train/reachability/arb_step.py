"""One validated step of an autonomous differential equation in ball arithmetic: a Taylor polynomial in time with a proven remainder.

First a box B is found that the solution does not leave (Picard and Lindelof: X + [0, h] f(B) inside B), then

    x(t + s) in sum_{k<K} c_k(X) s^k + c_K(B) s^K    for 0 <= s <= h,

with the solution's Taylor coefficients c_k as functions of the state (Moore, Interval Analysis, 1966, chapter 11; Nedialkov,
Jackson, Corliss, Validated solutions of initial value problems, Appl. Math. Comput. 105 (1999) 21). Wide balls grow as in any
interval method; these start from points, at a precision that leaves room for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flint import arb, arb_series, fmpq

from tubepilot.firmware_bridge.errors import CertificateError

from .arb_program import KinkError, Scalar

Field = Callable[[Sequence[Scalar]], list[Scalar]]
_FINEST = Fraction(1, 1 << 30)  # of the interval: a step this short crosses a kink with the first-order remainder, or is given up
_ROUNDS = 12
WIDEST = 1e-2  # radius at which an enclosure is given up


class TooWideError(CertificateError):
    """The balls have grown too wide; more bits may help."""


def ball(value: Fraction) -> arb:
    """An enclosure of a rational number."""
    return arb(fmpq(value.numerator, value.denominator))


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The solution over one step.

    Attributes:
        start: Since the start of the control period [s].
        length: Of the step [s].
        coefficients: Per state, of 1, s, ..., s^(K-1).
        remainder: Per state, of s^K.
    """

    start: Fraction
    length: Fraction
    coefficients: tuple[tuple[arb, ...], ...]
    remainder: tuple[arb, ...]

    def at(self, s: arb) -> list[arb]:
        """Enclose the states at every time of `s`, counted from `start` [s], within [0, length]."""
        result = []
        for coefficients, value in zip(self.coefficients, self.remainder, strict=True):
            for c in reversed(coefficients):
                value = value * s + c
            result.append(value)
        return result


def taylor_coefficients(f: Field, x: Sequence[arb], order: int) -> list[list[arb]]:
    """Coefficients 0 to `order` of the solution through every point of x, per state.

    Raises:
        KinkError: f has a kink there and `order` is above 1.
    """
    coefficients = [[v] for v in x]
    for k in range(order):
        slopes = f(x) if k == 0 else f([arb_series(c, prec=k + 1) for c in coefficients])
        for c, slope in zip(coefficients, slopes, strict=True):
            if isinstance(slope, arb):
                c.append(slope if k == 0 else arb(0))
            else:
                c.append(slope[k] / (k + 1))
    return coefficients


def stays_within(f: Field, x: Sequence[arb], length: Fraction) -> list[arb] | None:
    """A box that the solution from x does not leave for `length`, or None if none was found."""
    half = ball(length / 2).abs_upper()
    time = arb(half, half)  # encloses [0, length]
    guess = [v + time * s for v, s in zip(x, f(x), strict=True)]
    for _ in range(_ROUNDS):
        if not all(v.is_finite() for v in guess):
            return None
        box = [arb(v.mid(), v.rad() * arb(1.125) + arb(1e-60)) for v in guess]
        guess = [v + time * s for v, s in zip(x, f(box), strict=True)]
        if all(b.contains(v) and v.is_finite() for b, v in zip(box, guess, strict=True)):
            return guess
    return None


def flow(f: Field, x: list[arb], start: Fraction, length: Fraction, order: int, tolerance: float) -> list[Segment]:
    """Enclose the solution of x' = f(x) over an interval of time.

    Args:
        f: Right-hand side, for balls and for series.
        x: Enclosure of the state at `start`.
        start, length: Of the interval [s].
        order: K above.
        tolerance: Wanted size of one step's remainder.

    Returns:
        Segments without gaps.

    Raises:
        CertificateError: No enclosure was found: the solution leaves the domain of f, or the balls have grown too wide.
    """
    segments: list[Segment] = []
    done, longest = Fraction(0), length
    while done < length:
        step = min(longest, length - done)
        segment, kink = None, False
        try:
            coefficients = taylor_coefficients(f, x, order)
            step = _suggested(coefficients, order, tolerance, step)
            if step <= min(length * _FINEST, (length - done) / 2):
                raise _lost(start + done, step)
        except KinkError:
            coefficients, kink = [], True
        while segment is None:
            try:
                if not kink:
                    segment = _try_step(f, x, coefficients, start + done, step, order, tolerance)
            except KinkError:
                kink = step <= length * _FINEST
            if segment is None and step <= length * _FINEST:
                segment = _first_order(f, x, start + done, step, kink)
            elif segment is None:
                step = step / 2
        segments.append(segment)
        done += step
        longest = 4 * step
        x = segment.at(ball(step))
        if not all(v.is_finite() and float(v.rad()) < WIDEST for v in x):
            raise TooWideError(f"the enclosure of a trajectory is wider than {WIDEST}; the loop is too unstable for its precision")
    return segments


def _suggested(coefficients: list[list[arb]], order: int, tolerance: float, longest: Fraction) -> Fraction:
    """A step length for which the last term of the series is about as small as the tolerance, as a short binary fraction."""
    largest = max(abs(float(c[order].mid())) for c in coefficients)
    last = max(abs(float(c[order - 1].mid())) for c in coefficients)
    steps = [(tolerance / c) ** (1.0 / k) for c, k in ((largest, order), (last, order - 1)) if 0.0 < c < float("inf")]
    if not steps or min(steps) >= longest:
        return longest
    numerator, denominator = float(f"{min(steps):.2g}").as_integer_ratio()
    return min(longest, max(Fraction(numerator, denominator), longest / (1 << 20)))


def _try_step(
    f: Field, x: list[arb], coefficients: list[list[arb]], start: Fraction, step: Fraction, order: int, tolerance: float
) -> Segment | None:
    box = stays_within(f, x, step)
    if box is None:
        return None
    remainder = [c[order] for c in taylor_coefficients(f, box, order)]
    power = ball(step) ** order
    if not all(r.is_finite() and abs(r * power) < 1024.0 * tolerance for r in remainder):
        return None
    return Segment(start, step, tuple(tuple(c[:order]) for c in coefficients), tuple(remainder))


def _first_order(f: Field, x: list[arb], start: Fraction, step: Fraction, kink: bool) -> Segment:
    box = stays_within(f, x, step) if kink else None
    if box is None:
        raise _lost(start, step)
    return Segment(start, step, tuple((v,) for v in x), tuple(f(box)))


def _lost(start: Fraction, step: Fraction) -> CertificateError:
    return CertificateError(f"no enclosure of the trajectory {float(start):.6g} s into a control period: it leaves the domain of "
                            f"the dynamics there (steps down to {float(step):.3g} s were tried)")  # fmt: skip

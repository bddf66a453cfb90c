"""What a certificate assumes of the vehicle, each number with a source."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tubepilot.firmware_bridge.errors import InputError

Pair = tuple[float, float]
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Bounds that must hold in flight for the certificate to speak, which the shield watches, and what the tick has to run with.

    Attributes:
        position_error_m: Error of the predicted position, Euclidean in the horizontal plane, and vertical [m].
        velocity_error_m_s: Error of the predicted velocity, likewise [m/s].
        attitude_error_rad: Rotation angle between predicted and true attitude [rad].
        rate_error_rad_s: Error of the predicted body rates, per axis [rad/s].
        acceleration_m_s2: Bound W on the difference between the acceleration that the identified physics does not explain
            (wind, residual, thrust and its timing) and the on-board disturbance estimate that the backup holds:
            (Euclidean norm of the horizontal part, vertical part) [m/s^2].
        disturbance_estimate_m_s2: Largest disturbance estimate that the backup may hold, likewise [m/s^2].
        rate_residual_rad_s: Bound W on the roll-pitch rate set-point error that would explain the measured rate
            derivative, Euclidean norm of the two [rad/s].
        yaw_rate_rad_s: Bound on the yaw rate, which the shield enforces on set-points [rad/s].
        thrust_scale_error: Relative error of the collective thrust, dimensionless.
        tick_s: Control period [s].
        delay_max_s: Largest delay of a set-point beyond the identified one [s].
        missed_ticks: Largest number of consecutive ticks without a set-point.
        rate_lag_s: Time constant of the roll-pitch rate response [s].
        thrust_lag_s: Time constant of the collective thrust [s].
        drag_1_s: Linear drag over mass that the identified physics explains (horizontal, vertical) [1/s].
        gravity_m_s2: Gravity [m/s^2].
        command_delay_s: Identified delay from a set-point to the start of the response, which the tick predicts across [s].
        thrust_scale_m_s2: Collective acceleration at throttle 1: what makes a throttle of a thrust set-point [m/s^2].
        rate_lags_s: Lags of roll, pitch and yaw rate, of which `rate_lag_s` is the mean of the first two [s].
        drags_1_s: Drag along world x, y and z, of which `drag_1_s` is the mean of the first two and the third [1/s].
        sources: One line per bound: where its number comes from.
    """

    position_error_m: float
    velocity_error_m_s: float
    attitude_error_rad: float
    rate_error_rad_s: float
    acceleration_m_s2: Pair
    disturbance_estimate_m_s2: Pair
    rate_residual_rad_s: float
    yaw_rate_rad_s: float
    thrust_scale_error: float
    tick_s: float
    delay_max_s: float
    missed_ticks: int
    rate_lag_s: float
    thrust_lag_s: float
    drag_1_s: Pair
    gravity_m_s2: float
    command_delay_s: float
    thrust_scale_m_s2: float
    rate_lags_s: Triple
    drags_1_s: Triple
    sources: dict[str, str]

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "sources":
                continue
            value = getattr(self, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if not 0.0 <= number < float("inf"):
                    raise InputError(f"assumption {field.name} = {value}: must be finite and not negative")
        if self.window_s > 3.0 * self.tick_s:
            raise InputError(
                f"set-points may act up to {1e3 * self.window_s:.1f} ms away from their instant, more than three ticks of "
                f"{1e3 * self.tick_s:.1f} ms: the shield judges no further; lower the delay or the missed ticks"
            )

    @property
    def window_s(self) -> float:
        """Theta: the set-point in force at time t was computed for an instant s with |t - s| <= Theta [s].

        A set-point acts from its tick at the earliest to one period, the largest delay and the missed ticks later;
        the state it is computed for is predicted to the middle of that span.
        """
        return 0.5 * ((1 + self.missed_ticks) * self.tick_s + self.delay_max_s)

"""The backup policy: its law in numpy (float64), as an ONNX graph (float32), and the bound between the two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .disturbance import Disturbance, Limits
from .interval import Numbers
from .rounding import dot, given

OPSET = 18


@dataclass(frozen=True, slots=True)
class BackupLaw:
    """Parameters of the backup policy; gains are float32 values, so that graph and proof speak of the same numbers.

    Attributes:
        gain: Shape (2, 3): horizontal and vertical; position [1/s^3], velocity [1/s^2], acceleration [1/s].
        rate_lag_s, thrust_lag_s, tick_s: Lags and control period [s].
        thrust_gain: Actual over commanded thrust.
        rate_gain, rate_offset_rad_s: Identified static response of the roll-pitch-yaw rates, shape (3,).
        rate_limit_rad_s: Largest set-point per axis, shape (3,) [rad/s].
        thrust_min_m_s2, thrust_max_m_s2: Limits of the thrust set-point [m/s^2].
        gravity_m_s2: Gravity [m/s^2].
    """

    gain: Numbers
    rate_lag_s: float
    thrust_lag_s: float
    tick_s: float
    thrust_gain: float
    rate_gain: Numbers
    rate_offset_rad_s: Numbers
    rate_limit_rad_s: Numbers
    thrust_min_m_s2: float
    thrust_max_m_s2: float
    gravity_m_s2: float

    def constants(self) -> tuple[float, float, float, float]:
        """Shares (slope decay, slope of nu into the thrust step [s], of the slope into it [s], inverse thrust response)."""
        decay = float(np.exp(-self.tick_s / self.rate_lag_s))
        from_slope = self.rate_lag_s * (1 - decay)
        from_nu = self.tick_s - from_slope
        response = 1.0 / (1.0 - float(np.exp(-self.tick_s / self.thrust_lag_s)))
        return decay, from_nu, from_slope, response

    def evaluate(
        self, position: Numbers, velocity: Numbers, rotation: Numbers, thrust: float, slope: float, disturbance: Numbers
    ) -> tuple[Numbers, float, float]:
        """The law in float64.

        Args:
            position: From the anchor, world, shape (3,) [m].
            velocity: World, shape (3,) [m/s].
            rotation: Body to world, shape (3, 3).
            thrust: Modelled collective thrust c [m/s^2].
            slope: Modelled thrust slope [m/s^3].
            disturbance: Estimate that the backup holds, world, shape (3,) [m/s^2].

        Returns:
            Rate set-point (3,) [rad/s], thrust set-point [m/s^2], and the next slope [m/s^3].
        """
        up = rotation[:, 2]
        a = thrust * up - np.array([0.0, 0.0, self.gravity_m_s2]) + disturbance
        gains = self.gain[[0, 0, 1]]
        nu = gains[:, 0] * position + gains[:, 1] * velocity + gains[:, 2] * a
        along = float(up @ nu)
        across = nu - along * up
        decay, from_nu, from_slope, response = self.constants()
        rates = np.array([-rotation[:, 1] @ across, rotation[:, 0] @ across, 0.0]) / thrust
        rates = (rates - self.rate_offset_rad_s) / self.rate_gain
        command = (thrust + response * (from_nu * along + from_slope * slope)) / self.thrust_gain
        return (
            np.clip(rates, -self.rate_limit_rad_s, self.rate_limit_rad_s),
            float(np.clip(command, self.thrust_min_m_s2, self.thrust_max_m_s2)),
            along + (slope - along) * decay,
        )

    def graph(self) -> onnx.ModelProto:
        """The same law as a float32 ONNX graph: inputs state [1, 9] = position, velocity, disturbance; rotation [3, 3]; thrust,
        slope [1, 1]; outputs setpoint [1, 4] = rates [rad/s], thrust [m/s^2], and slope_next [1, 1]."""
        decay, from_nu, from_slope, response = self.constants()
        gains = self.gain[[0, 0, 1]]
        weights = np.zeros((9, 3))
        for i in range(3):
            weights[i, i], weights[3 + i, i], weights[6 + i, i] = gains[i]
        swap = np.zeros((3, 3))
        swap[1, 0], swap[0, 1] = -1.0, 1.0  # (r1, r2, b) . across -> (-r2, r1, 0)
        values = {
            "weights": weights,
            "acceleration_gain": gains[:, 2][None],
            "offset": (-self.gravity_m_s2 * gains[2, 2] * np.array([0.0, 0.0, 1.0]))[None],
            "select_up": np.array([[0.0], [0.0], [1.0]]),
            "swap": swap,
            "rate_inverse": (1.0 / self.rate_gain)[None],
            "rate_shift": (-self.rate_offset_rad_s / self.rate_gain)[None],
            "from_nu": np.array([[response * from_nu]]),
            "from_slope": np.array([[response * from_slope]]),
            "thrust_inverse": np.array([[1.0 / self.thrust_gain]]),
            "decay": np.array([[decay]]),
            "keep": np.array([[1.0 - decay]]),
            "low": np.append(-self.rate_limit_rad_s, self.thrust_min_m_s2)[None],
            "high": np.append(self.rate_limit_rad_s, self.thrust_max_m_s2)[None],
        }
        initializers = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items()]
        nodes = [
            helper.make_node("MatMul", ["rotation", "select_up"], ["up_column"]),
            helper.make_node("Transpose", ["up_column"], ["up"], perm=[1, 0]),
            helper.make_node("Mul", ["up", "thrust"], ["force"]),
            helper.make_node("Mul", ["force", "acceleration_gain"], ["from_force"]),
            helper.make_node("MatMul", ["state", "weights"], ["from_state"]),
            helper.make_node("Add", ["from_state", "offset"], ["from_constant"]),
            helper.make_node("Add", ["from_constant", "from_force"], ["nu"]),
            helper.make_node("MatMul", ["nu", "up_column"], ["along"]),
            helper.make_node("Mul", ["along", "up"], ["along_vector"]),
            helper.make_node("Sub", ["nu", "along_vector"], ["across"]),
            helper.make_node("MatMul", ["across", "rotation"], ["across_body"]),
            helper.make_node("MatMul", ["across_body", "swap"], ["turn"]),
            helper.make_node("Div", ["turn", "thrust"], ["rates_wanted"]),
            helper.make_node("Mul", ["rates_wanted", "rate_inverse"], ["rates_scaled"]),
            helper.make_node("Add", ["rates_scaled", "rate_shift"], ["rates"]),
            helper.make_node("Mul", ["along", "from_nu"], ["thrust_from_nu"]),
            helper.make_node("Mul", ["slope", "from_slope"], ["thrust_from_slope"]),
            helper.make_node("Add", ["thrust_from_nu", "thrust_from_slope"], ["thrust_step"]),
            helper.make_node("Add", ["thrust", "thrust_step"], ["thrust_wanted"]),
            helper.make_node("Mul", ["thrust_wanted", "thrust_inverse"], ["thrust_command"]),
            helper.make_node("Concat", ["rates", "thrust_command"], ["free"], axis=1),
            helper.make_node("Max", ["free", "low"], ["above"]),
            helper.make_node("Min", ["above", "high"], ["setpoint"]),
            helper.make_node("Mul", ["slope", "decay"], ["slope_kept"]),
            helper.make_node("Mul", ["along", "keep"], ["slope_added"]),
            helper.make_node("Add", ["slope_kept", "slope_added"], ["slope_next"]),
        ]

        def value(name: str, shape: list[int]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        graph = helper.make_graph(
            nodes,
            "backup",
            [value("state", [1, 9]), value("rotation", [3, 3]), value("thrust", [1, 1]), value("slope", [1, 1])],
            [value("setpoint", [1, 4]), value("slope_next", [1, 1])],
            initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        helper.set_model_props(
            model,
            {
                "state": "position from the anchor [m], velocity [m/s], held disturbance [m/s^2]; world ENU",
                "rotation": "body FLU to world ENU",
                "thrust": "modelled collective thrust [m/s^2]",
                "slope": "modelled thrust slope [m/s^3]",
                "setpoint": "body rates [rad/s], collective thrust [m/s^2]",
                "slope_next": "thrust slope at the next tick [m/s^3]",
            },
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def gains_of(model: onnx.ModelProto) -> Numbers:
    """Gains that a backup graph holds, shape (2, 3), read from its initializers."""
    weights = next(numpy_helper.to_array(i) for i in model.graph.initializer if i.name == "weights").astype(np.float64)
    return np.array([[weights[0, 0], weights[3, 0], weights[6, 0]], [weights[2, 2], weights[5, 2], weights[8, 2]]])


def rounding_bound(law: BackupLaw, limits: Limits, disturbance: Disturbance, estimate_m_s2: tuple[float, float]) -> float:
    """Bound of the float32 error of the graph, as an error of the feedback nu [m/s^3].

    An error of the rates counts as thrust times that error, an error of the thrust set-point as the slope error that would
    cause it, so that one number covers all three outputs.
    """
    low, high = disturbance.thrust_m_s2
    gains = np.abs(law.gain).max(axis=0)
    thrust = given(high)
    up = given(1.0)
    position, velocity = given(max(limits.position_m)), given(max(limits.velocity_m_s))
    held = given(max(estimate_m_s2))
    k = [given(float(g)) for g in gains]
    # Each column of `weights` has three entries that are not zero; the six exact zeros add nothing.
    from_state = dot([position, velocity, held], k)
    nu = from_state + given(law.gravity_m_s2 * float(gains[2])) + (up * thrust) * k[2]
    along = dot([nu] * 3, [up] * 3)
    across = nu + along * up
    turn = dot([across] * 3, [up] * 3)
    rates = turn.over(thrust, low) * given(float(np.max(1.0 / np.abs(law.rate_gain)))) + given(1.0)
    _, from_nu, from_slope, response = law.constants()
    slope = given(float(np.hypot(*limits.jerk_m_s3)))
    step = along * given(response * from_nu) + slope * given(response * from_slope)
    command = (thrust + step) * given(1.0 / law.thrust_gain)
    as_feedback = command.error * law.thrust_gain / (response * from_nu)
    slope_next = (slope + along).error / (1.0 - np.exp(-law.tick_s / law.rate_lag_s))
    return float(max(nu.error, rates.error * high * float(np.max(np.abs(law.rate_gain))), as_feedback, slope_next)) * 3.0

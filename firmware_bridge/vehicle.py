"""What the runtime sees of a flight controller, whatever its firmware."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from .errors import InputError
from .timesync import TimesyncStatistics
from .types import FlightMode, Setpoint, VehicleState
from .uri import VehicleUri, parse_uri


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """Health of the link, counted by our own parser.

    Attributes:
        connected: The device is open and a heartbeat came within the last seconds.
        bytes_in: Bytes received.
        bytes_out: Bytes handed to the driver.
        frames: Frames that passed their CRC.
        lost: Frames missing by the sender's sequence numbers.
        reordered: Frames that came late or twice.
        crc_errors: Frame candidates whose CRC did not match.
        signed: Signed frames, which are skipped.
        refused_writes: Frames not sent because the device was away or too far behind.
        reconnects: Times that the device had to be opened again.
        setpoints: Set-points sent.
        heartbeat_age_s: Time since the last heartbeat; infinite before the first [s].
        state_age_ms: Age of the newest state at this moment, by the synchronised clock; infinite without one [ms].
        state_hz: Attitude messages per second, over the last second [Hz].
        refused_states: State messages refused, by reason, as text.
        timesync: How well the clocks are known.
        low_latency: The driver's low-latency mode as read back; None where it has none.
    """

    connected: bool
    bytes_in: int
    bytes_out: int
    frames: int
    lost: int
    reordered: int
    crc_errors: int
    signed: int
    refused_writes: int
    reconnects: int
    setpoints: int
    heartbeat_age_s: float
    state_age_ms: float
    state_hz: float
    refused_states: tuple[tuple[str, int], ...]
    timesync: TimesyncStatistics
    low_latency: bool | None


@dataclass(frozen=True, slots=True)
class VehicleStatus:
    """Newest word of the flight controller about itself.

    Attributes:
        mode: Mode by its heartbeat, never by an acknowledgement.
        armed: Armed by its heartbeat.
        landed: Its landed detector; None before it said anything.
        battery_v: Battery voltage; None if it does not say [V].
        texts: The last texts that it sent, oldest first, verbatim.
        link: Health of the link.
    """

    mode: FlightMode
    armed: bool
    landed: bool | None
    battery_v: float | None
    texts: tuple[str, ...]
    link: LinkStatistics


@dataclass(frozen=True, slots=True)
class Check:
    """One finding before arming.

    Attributes:
        name: What was checked, for instance a parameter.
        ok: Whether it is as needed.
        text: What was found, what is needed, and the command that sets it.
    """

    name: str
    ok: bool
    text: str


class Vehicle(ABC):
    """One flight controller.

    Nothing here blocks except `connect` and `preflight`; what was requested is done when `status` says so.
    """

    stream_remedy = "raise the baud rate"
    """What to do when states come too slowly: the firmware's settings, with what was seen to suffice."""

    arming_delay_s = 0.0
    """After arming the motors follow no set-point for so long [s]."""

    @abstractmethod
    def connect(self, timeout_s: float) -> None:
        """Open the device; wait for a heartbeat and for the clocks to lock.

        Raises:
            LinkError: the device cannot be opened, or nobody answers within `timeout_s`.
        """

    @abstractmethod
    def poll(self) -> None:
        """Take in everything that has arrived, keep heartbeat and time sync going, reopen a device that vanished."""

    @abstractmethod
    def wait_until(self, deadline_ns: int) -> None:
        """Sleep until a CLOCK_MONOTONIC time [ns], polling whenever bytes arrive.

        Use this between ticks rather than a plain sleep: an answer to time sync that waits for the next tick looks
        like a slow line, and shifts the clocks by half of its wait.
        """

    def pre_warm(self) -> None:  # noqa: B027 - a firmware without a codec of ours has nothing to warm
        """Run the codec once on made-up messages right before a tick, so that its code is in the caches; sends nothing."""

    @abstractmethod
    def fileno(self) -> int:
        """File descriptor to wait on; -1 while the device is away."""

    @abstractmethod
    def state(self) -> VehicleState | None:
        """The newest state, or None while there is none that can be trusted."""

    @abstractmethod
    def send(self, setpoint: Setpoint) -> None:
        """Send one set-point.

        Raises:
            InputError: it is not finite or beyond what the vehicle takes; nothing was sent.
        """

    @abstractmethod
    def heartbeat(self) -> None:
        """Send our heartbeat now; `poll` does so once a second by itself."""

    @abstractmethod
    def status(self) -> VehicleStatus:
        """Newest mode, arming, texts and health of the link."""

    def message_counts(self) -> dict[str, int]:
        """Messages received so far, by name; rates come from the differences of two calls."""
        return {}

    def echo_ms(self) -> tuple[float, ...]:
        """Times from sending a set-point until the flight controller said that it follows it, newest last [ms]."""
        return ()

    @abstractmethod
    def request_streams(self, rate_hz: float) -> None:
        """Ask for attitude and position at a rate [Hz]; reached or not shows in `LinkStatistics.state_hz`."""

    @abstractmethod
    def request_mode(self, mode: FlightMode) -> None:
        """Ask for a mode; it is entered when `status().mode` says so.

        Raises:
            InputError: the firmware has no such mode.
        """

    @abstractmethod
    def request_arm(self, arm: bool, force: bool = False) -> None:
        """Ask for arming or disarming; done when `status().armed` says so. `force` disarms in the air: motors stop."""

    @abstractmethod
    def preflight(self, timeout_s: float = 3.0) -> tuple[Check, ...]:
        """Read back the parameters that matter to flying under our set-points."""

    @abstractmethod
    def close(self) -> None:
        """Close the device; set-points stop, so the flight controller's failsafe takes over."""


def open_vehicle(uri: str, thrust_scale_m_s2: float) -> Vehicle:
    """The vehicle behind an address; call `connect` next.

    Args:
        uri: For instance `px4:///dev/ttyACM0?baud=921600`.
        thrust_scale_m_s2: Collective acceleration at throttle 1 [m/s^2], from the bundle.

    Raises:
        InputError: the address cannot be read, or the thrust scale is not a positive number.
    """
    from .ardupilot import ArduPilotVehicle
    from .betaflight import BetaflightVehicle
    from .crazyflie import CrazyflieVehicle
    from .px4 import Px4Vehicle

    if not 1.0 <= thrust_scale_m_s2 <= 500.0:
        raise InputError(f"thrust scale is {thrust_scale_m_s2!r} m/s^2; it must be 1..500: check the bundle")
    address = parse_uri(uri)
    kinds: dict[str, Callable[[VehicleUri, float], Vehicle]] = {
        "px4": Px4Vehicle,
        "ardupilot": ArduPilotVehicle,
        "betaflight": BetaflightVehicle,
        "crazyflie": CrazyflieVehicle,
    }
    return kinds[address.firmware](address, thrust_scale_m_s2)

"""Every error that tubepilot raises on purpose, grouped by who must act.

A message says what was wrong, the value, the limit, and what to do.
"""

from __future__ import annotations


class TubepilotError(Exception):
    """Base of all errors raised on purpose; the command line prints its text without a traceback."""


# --- the user gave something that cannot be used -------------------------------------------------------


class InputError(TubepilotError, ValueError):
    """An argument, a file or a configuration value is outside what is allowed."""


class ShapeError(InputError):
    """An array has another shape than the bundle or the model expects."""


class LogFormatError(InputError):
    """A flight log lacks a channel or cannot be parsed."""


class MissingExtraError(TubepilotError):
    """A sub-command needs an optional dependency that is not installed."""


# --- the bundle or checkpoint must be made again ---------------------------------------------------------


class BundleError(TubepilotError):
    """A bundle is incomplete, altered, of an unknown format, or signed by an untrusted key."""


class CheckpointError(TubepilotError):
    """A checkpoint is incomplete or of another format."""


class CertificateError(TubepilotError):
    """No certificate could be proven, or one did not pass its check."""


class ParityError(TubepilotError):
    """An exported graph differs from its reference by more than the stated bound."""


# --- the vehicle, its link or its machine needs attention ------------------------------------------------


class LinkError(TubepilotError):
    """The link to the flight controller could not be opened, or fell silent."""


class VehicleRefusedError(TubepilotError):
    """The flight controller refused a mode, arming or a command; the text is the firmware's own."""

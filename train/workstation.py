"""What the commands of the workstation need beyond the on-board install."""

from __future__ import annotations

from importlib.util import find_spec

from tubepilot.firmware_bridge.errors import MissingExtraError

PACKAGES = ("jax", "jaxtyping", "onnx", "scipy", "flint", "matplotlib")


def require(command: str, packages: tuple[str, ...] = PACKAGES) -> None:
    """Check that packages are installed, before anything of them is loaded.

    Args:
        command: Sub-command, for the message.
        packages: Import names.

    Raises:
        MissingExtraError: One is missing.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"`tubepilot {command}` needs Python packages that are not installed here: {', '.join(missing)}; "
            'install them with: pip install "tubepilot[workstation]"'
        )

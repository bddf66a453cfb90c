"""Training batches spread over all devices of the machine, with the parameters on each of them.

The batch of an iteration is cut along one axis over a mesh of one dimension; XLA adds the sums over the devices
(`jax.sharding`, computation follows data). With one device nothing is placed and nothing changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

AXIS = "batch"
REPEATABLE = "--xla_gpu_deterministic_ops=true"
"""XLA's flag for sums on a GPU that add in the same order in every run; a CPU does so without it."""


class Layout(NamedTuple):
    """Where the arrays of a training loop lie.

    Attributes:
        batch: One share of the batch per device.
        whole: A copy on each device.
    """

    batch: NamedSharding
    whole: NamedSharding


def layout(size: int, axis: int = 0) -> Layout | None:
    """Placement of a batch over the local devices.

    Args:
        size: Rollouts or samples of the batch.
        axis: Axis of the batch's arrays that counts them.

    Returns:
        The placement; None with one device, or if the devices do not divide the batch.
    """
    devices = jax.local_devices()
    if len(devices) < 2 or size % len(devices) != 0:
        return None
    mesh = Mesh(np.array(devices), (AXIS,))
    return Layout(
        NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS)), NamedSharding(mesh, PartitionSpec())
    )


def place_batch(tree: Tree, where: Layout | None) -> Tree:
    """The arrays of a batch, each device holding its share; unchanged without a layout."""
    return tree if where is None else jax.device_put(tree, where.batch)


def place_whole(tree: Tree, where: Layout | None) -> Tree:
    """Arrays copied to every device; unchanged without a layout."""
    return tree if where is None else jax.device_put(tree, where.whole)


def machine() -> str:
    """Devices and library that the bits of a result depend on."""
    return f"{jax.local_device_count()} {jax.default_backend()} device(s), jax {jax.__version__}"


def describe(batches: Mapping[str, int]) -> str:
    """One line on where training runs.

    Args:
        batches: Name of each stage and the size of its batch.
    """
    count = jax.local_device_count()
    alone = [f"{name} ({size})" for name, size in batches.items() if count > 1 and size % count != 0]
    note = f"; on one of them, since {count} does not divide the batch: {', '.join(alone)}" if alone else ""
    return f"training on {count} {jax.default_backend()} device{'s' * (count > 1)}{note}"


def ask_for_repeatable_sums() -> None:
    """Set XLA's flag for repeatable sums on a GPU, unless the user has; works only before the first use of a device."""
    flags = os.environ.get("XLA_FLAGS", "")
    if REPEATABLE.partition("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {REPEATABLE}".strip()

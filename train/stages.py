"""Training in stages that can be killed at any moment and go on from their last state to the same result, bit for bit.

A `Run` owns the folder of states. Each stage writes all that its next iteration depends on (parameters, the optimiser's
memory, the generator's state, the iteration), so that what comes after a kill is what would have come without it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jaxtyping import Array

from tubepilot.firmware_bridge.errors import CheckpointError, InputError

from .devices import Layout, machine, place_batch, place_whole
from .monitor import Monitor
from .training_state import StateFile, TrainingState

Tree = TypeVar("Tree")
Parameters = TypeVar("Parameters")
Batch = TypeVar("Batch")

SAVE_EVERY_S = 10.0
MONITOR_EVERY = 10
"""The monitor is told every so many iterations; in between, the loss need not leave the device."""


def digest(tree: object) -> str:
    """SHA-256 of the structure, types, shapes and bytes of a tree of arrays."""
    result = hashlib.sha256(str(jax.tree.structure(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        result.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return result.hexdigest()


class Run:
    """The folder of states of one training run.

    Args:
        folder: Where the states lie until the run is complete.
        identity: Settings and flights that the result depends on, name to value.
        resume: Go on from the states that are there; else they are dropped.
        save_every_s: Time between two states of a stage [s]; 0 saves every iteration.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, str], resume: bool, save_every_s: float = SAVE_EVERY_S
    ) -> None:
        self.folder, self.identity, self.save_every_s = folder, dict(identity), save_every_s
        there = any(folder.glob("*.state")) or any(folder.glob("*.previous"))
        if resume and not there:
            print(f"{folder}: no state of an interrupted run there; training starts at the beginning")
        elif there and not resume:
            print(f"{folder}: what an interrupted run left there is dropped (--resume goes on from it)")
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        for left in folder.glob(".*.state.*"):  # of a write that was cut short
            left.unlink()

    def stage(self, name: str, inputs: object) -> Stage:
        """A stage.

        Args:
            name: Name of the stage, that of its files too.
            inputs: Tree of arrays: results of earlier stages that this one works on.
        """
        return Stage(self, name, digest(inputs))

    def finish(self) -> None:
        """Remove the states: the result is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Stage:
    """One stage of a run: made by `Run.stage`."""

    def __init__(self, run: Run, name: str, inputs: str) -> None:
        self._run, self._name, self._inputs = run, name, inputs
        self._file = StateFile(run.folder, name)
        self._saved_s = time.monotonic()
        self.iteration = 0
        """Iterations done, as of the last state written or read."""

    def due(self) -> bool:
        """Whether it is time for the next state."""
        return time.monotonic() - self._saved_s >= self._run.save_every_s

    def save(self, tree: object, iteration: int, generator: np.random.Generator | None = None) -> None:
        """Write the state.

        Args:
            tree: All arrays that the next iteration depends on.
            iteration: Iterations done.
            generator: Random source of the iterations.

        Raises:
            CheckpointError: it cannot be written.
        """
        drawn = {} if generator is None else dict(generator.bit_generator.state)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
        structure = str(jax.tree.structure(tree))
        self._file.write(
            TrainingState(
                self._name, iteration, drawn, structure, leaves, self._run.identity, self._inputs, machine()
            )
        )
        self._saved_s, self.iteration = time.monotonic(), iteration

    def load(self, like: Tree, generator: np.random.Generator | None = None) -> tuple[Tree, int] | None:
        """The last good state, said in one line.

        Args:
            like: A tree of the structure, shapes and types that the state must have; its leaves have both.
            generator: Random source, which is put into the state it had.

        Returns:
            The tree with numpy leaves, and the iterations done; None if the stage has to start at the beginning.

        Raises:
            InputError: the state is of other settings or flights; the message names the difference.
            CheckpointError: the state is of another version of this program, or cannot be read.
        """
        state = self._accepted()
        if state is None:
            return None
        leaves, structure = jax.tree.flatten(like)
        kind = [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves]
        if state.structure != str(structure) or kind != [(leaf.shape, leaf.dtype) for leaf in state.leaves]:
            raise self._of_another_version()
        if generator is not None:
            generator.bit_generator.state = state.generator
        self._resumed(state)
        return jax.tree.unflatten(structure, state.leaves), state.iteration

    def load_arrays(self, count: int) -> list[npt.NDArray[np.generic]] | None:
        """The last good state of a stage that keeps a list of arrays, whose shapes it knows only when it is done.

        Args:
            count: How many arrays.

        Returns:
            The arrays; None if the stage has to start at the beginning.

        Raises:
            InputError, CheckpointError: see `load`.
        """
        state = self._accepted()
        if state is None:
            return None
        if state.structure != str(jax.tree.structure([0] * count)):
            raise self._of_another_version()
        self._resumed(state)
        return state.leaves

    def _accepted(self) -> TrainingState | None:
        """The last good state if it is of this run and was begun on the same results of earlier stages."""
        state = self._file.read()
        if state is None:
            return None
        refuse_other(self._run.folder, state.run, self._run.identity)
        if state.inputs != self._inputs:
            print(f"{self._name}: what it was begun on has changed since; starts at the beginning")
            return None
        return state

    def _of_another_version(self) -> CheckpointError:
        return CheckpointError(
            f"{self._file.newest}: holds other arrays than this version trains; train without --resume"
        )

    def _resumed(self, state: TrainingState) -> None:
        self.iteration = state.iteration
        note = "" if state.machine == machine() else f"; begun on {state.machine}, now {machine()}: equal to rounding only"
        print(f"{self._name}: resumed after {state.iteration} iteration{'s' * (state.iteration != 1)}{note}")


def refuse_other(folder: Path, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to go on with a run of other settings or flights.

    Raises:
        InputError: there is a difference; the message names it.
    """
    names = [*then, *(name for name in now if name not in then)]
    changed = [
        f"{name} was {then.get(name, 'absent')}, is {now.get(name, 'absent')}"
        for name in names
        if then.get(name) != now.get(name)
    ]
    if changed:
        raise InputError(
            f"{folder}: the interrupted run was another one: {'; '.join(changed)}; resume with what it was begun with, "
            f"or train without --resume"
        )


def descend(
    loss: Callable[[Parameters, Batch], Array],
    draw: Callable[[np.random.Generator], Batch],
    parameters: Parameters,
    optimiser: optax.GradientTransformation,
    generator: np.random.Generator,
    iterations: int,
    monitor: Monitor | None = None,
    stage: Stage | None = None,
    where: Layout | None = None,
) -> Parameters:
    """Stochastic gradient descent that can be resumed.

    Args:
        loss: Mean loss of a batch.
        draw: Makes the next batch from the random source and nothing else.
        parameters: Where to start: a tree of arrays.
        optimiser: The optimiser.
        generator: Random source of the batches.
        iterations: How many.
        monitor: Told the iteration and the loss now and then; returns False to stop early.
        stage: Keeps the state; None keeps none.
        where: Placement of the batch over devices.

    Returns:
        The parameters.

    Raises:
        InputError, CheckpointError: see `Stage.load` and `Stage.save`.
    """

    def update(
        parameters: Parameters, memory: optax.OptState, batch: Batch
    ) -> tuple[Parameters, optax.OptState, Array]:
        value, gradient = jax.value_and_grad(loss)(parameters, batch)
        change, memory = optimiser.update(gradient, memory, parameters)
        return optax.apply_updates(parameters, change), memory, value

    step = jax.jit(update) if where is None else jax.jit(update, out_shardings=where.whole)
    memory, done = optimiser.init(parameters), 0
    before = None if stage is None else stage.load((parameters, memory), generator)
    if before is not None:
        (parameters, memory), done = jax.tree.map(jnp.asarray, before[0]), before[1]
    parameters, memory = place_whole((parameters, memory), where)
    for iteration in range(done, iterations):
        parameters, memory, value = step(parameters, memory, place_batch(draw(generator), where))
        done = iteration + 1
        going = monitor is None or iteration % MONITOR_EVERY != 0 or monitor(iteration, float(value))
        if stage is not None and stage.due():
            stage.save((parameters, memory), done, generator)
        if not going:
            break
    if stage is not None and stage.iteration != done:
        stage.save((parameters, memory), done, generator)
    # On one device again: the stages that follow place their own arrays.
    return parameters if where is None else jax.tree.map(lambda v: jnp.asarray(np.asarray(v)), parameters)

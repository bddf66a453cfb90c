"""Read a controller from the text format of the POLAR tool.

One number or word per line, in this order: inputs, outputs, number of hidden layers, their widths; then one activation per layer,
the last being that of the output (files of an older form leave these out); then per layer and neuron the weights and the bias; then
an offset and a scale: the controller's value is (output - offset) * scale.

Source: POLAR-Express, https://github.com/ChaoHuang2018/POLAR_Tool (README and NeuralNetwork.cpp of its public version).
"""

from __future__ import annotations

import numpy as np

from tubepilot.firmware_bridge.errors import InputError

from .layer_graph import exact_product
from .network import Layer, Network, checked_network

_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "affine": "linear", "linear": "linear"}
_MAX_LAYERS, _MAX_WIDTH = 1000, 100_000


def network_from_text(content: bytes, name: str, activations: tuple[str, ...] | None = None) -> Network:
    """The network of a text file, its offset and scale included.

    Args:
        content: The file.
        name: For messages.
        activations: One per layer, if the file does not say them.

    Raises:
        InputError: The file ends early, holds more than the network, or a line is not what its place asks for.
    """
    try:
        lines = [(i, line.strip()) for i, line in enumerate(content.decode("utf-8").splitlines(), 1) if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is neither text nor ONNX ({error.reason} at byte {error.start})") from error
    reader = _Reader(lines, name)
    inputs, outputs = reader.count("number of inputs", _MAX_WIDTH), reader.count("number of outputs", _MAX_WIDTH)
    hidden = reader.count("number of hidden layers", _MAX_LAYERS)
    sizes = [inputs, *(reader.count("width of a hidden layer", _MAX_WIDTH) for _ in range(hidden)), outputs]
    layers = []
    for (rows, columns), activation in zip(
        zip(sizes[1:], sizes[:-1], strict=True), _activations(reader, hidden + 1, activations), strict=True
    ):
        block = reader.numbers(rows * (columns + 1)).reshape(rows, columns + 1)
        layers.append(Layer(block[:, :-1].copy(), block[:, -1].copy(), activation))
    offset, scale = reader.numbers(2)
    reader.end()
    return checked_network(layers + _output_map(float(offset), float(scale), outputs))


def _output_map(offset: float, scale: float, size: int) -> list[Layer]:
    """(y - offset) * scale, exactly."""
    eye = np.eye(size)
    if offset == 0.0 and scale == 1.0:
        return []
    shift = exact_product(np.full(size, -offset), np.float64(scale))
    if shift is not None:
        return [Layer(scale * eye, shift, "linear")]
    return [Layer(eye, np.full(size, -offset), "linear"), Layer(scale * eye, np.zeros(size), "linear")]


def _activations(reader: _Reader, count: int, given: tuple[str, ...] | None) -> list[str]:
    written = reader.words(count)
    if written and given is not None:
        raise InputError(f"{reader.name}: the file says its activations ({', '.join(written)}); do not give others")
    if not written and given is None:
        raise InputError(f"{reader.name}: the file does not say its activations; give one for each of its {count} layers")
    words = written or list(given or ())
    unknown = [word for word in words if word.lower() not in _ACTIVATIONS]
    if unknown or len(words) != count:
        raise InputError(f"{reader.name}: activations {words}; {count} of {', '.join(_ACTIVATIONS)} are needed")
    return [_ACTIVATIONS[word.lower()] for word in words]


class _Reader:
    """The lines of a file, taken one after the other."""

    def __init__(self, lines: list[tuple[int, str]], name: str) -> None:
        self.lines, self.name, self.place = lines, name, 0

    def words(self, count: int) -> list[str]:
        """Up to `count` lines that are no numbers."""
        found: list[str] = []
        while len(found) < count and self.place < len(self.lines) and self.lines[self.place][1].isalpha():
            found.append(self.lines[self.place][1])
            self.place += 1
        return found

    def count(self, what: str, limit: int) -> int:
        number, text = self._next(what)
        if not text.isdecimal() or not 1 <= int(text[:12]) <= limit:
            raise InputError(f"{self.name}, line {number}: {text[:40]!r} where the {what} is expected, 1 to {limit}")
        return int(text)

    def numbers(self, count: int) -> np.ndarray:
        if len(self.lines) - self.place < count:
            raise InputError(f"{self.name}: {len(self.lines) - self.place} numbers are left where {count} are needed; is it complete?")
        values = np.empty(count)
        for i in range(count):
            number, text = self._next("a number")
            try:
                values[i] = float(text)
            except ValueError:
                raise InputError(f"{self.name}, line {number}: {text[:40]!r} where a number is expected") from None
            if not np.isfinite(values[i]):
                raise InputError(f"{self.name}, line {number}: {text[:40]!r} is not finite")
        return values

    def end(self) -> None:
        if self.place < len(self.lines):
            number, text = self.lines[self.place]
            raise InputError(f"{self.name}, line {number}: {text[:40]!r} stands behind the end of the network")

    def _next(self, what: str) -> tuple[int, str]:
        if self.place >= len(self.lines):
            raise InputError(f"{self.name}: ends where the {what} is expected; is the file complete?")
        self.place += 1
        return self.lines[self.place - 1]

"""What one tool found for one case, and the table of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COLUMNS = ("case", "tool", "feedback", "run [s]", "compile [s]", "width at the end", "escaped", "sets", "float", "rounding")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row.

    Attributes:
        case, tool: Names; the tool with its version.
        feedback: "sampled" (held over a period, as specified) or "continuous".
        seconds: Median of warm runs [s].
        compile_seconds: Tracing and compiling [s].
        end_lo, end_hi: Bounds of the states at the end of the horizon.
        sets: "tube" (all times) or "instants" (steps of the integration only).
        arithmetic: Float format.
        rounding: "bounded", or what is not.
        escaped: Simulated trajectories of the specification, sampled feedback, that end outside of these bounds; None: not compared.
        samples: Simulated trajectories.
        failure: Why there are no figures; empty if there are.
    """

    case: str
    tool: str
    feedback: str
    seconds: float | None = None
    compile_seconds: float | None = None
    end_lo: tuple[float, ...] = ()
    end_hi: tuple[float, ...] = ()
    sets: str = ""
    arithmetic: str = ""
    rounding: str = ""
    escaped: int | None = None
    samples: int = 0
    failure: str = ""


def cells(outcome: Outcome) -> tuple[str, ...]:
    """One row of the table as text; a failure stands where the widths would."""
    widths = " ".join(f"{hi - lo:.4f}" for lo, hi in zip(outcome.end_lo, outcome.end_hi, strict=True))
    return (
        outcome.case,
        outcome.tool,
        outcome.feedback,
        "-" if outcome.seconds is None else f"{outcome.seconds:.4f}",
        "-" if outcome.compile_seconds is None else f"{outcome.compile_seconds:.1f}",
        outcome.failure or widths,
        "-" if outcome.escaped is None else f"{outcome.escaped}/{outcome.samples}",
        outcome.sets or "-",
        outcome.arithmetic or "-",
        outcome.rounding or "-",
    )


def table(outcomes: Iterable[Outcome]) -> str:
    """A table in Markdown, columns aligned."""
    rows = [COLUMNS, *(cells(outcome) for outcome in outcomes)]
    lengths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["| " + " | ".join(cell.ljust(length) for cell, length in zip(row, lengths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (length + 2) for length in lengths) + "|", *lines[1:]])

"""Rows of a CSV log that cannot be used: empty cells, NaN, wrong order, pauses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.train.logs import read_log
from tubepilot.train.logs.csv_rows import LONGEST_PAUSE_S

HEADER = "t,x,y,z,vx,vy,vz,qx,qy,qz,qw,wx,wy,wz,m1_rads,m2_rads,m3_rads,m4_rads"
ROWS = 100


def table() -> list[list[str]]:
    """One second of hover that drifts along x, as cells."""
    hover = ["0"] * 2 + ["0.1", "0", "0"] + ["0", "0", "0", "1"] + ["0"] * 3 + ["1500"] * 4
    return [[f"{k / 100:.2f}", f"{0.001 * k:.4f}", *hover] for k in range(ROWS)]


def write(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("\n".join([HEADER, *(",".join(row) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize("cell", ["", " ", "nan", "inf"])
def test_a_cell_that_is_no_number_costs_its_row_only(tmp_path: Path, cell: str) -> None:
    rows = table()
    rows[40][1] = rows[41][15] = cell
    flight = read_log(write(tmp_path / "f.csv", rows))
    meta = flight.meta
    assert (meta["dropped_samples"], meta["dropped_not_finite"], meta["dropped_outside_stretch"]) == (2, 2, 0)
    assert meta["longest_gap_s"] == pytest.approx(0.03)
    np.testing.assert_allclose(flight.position_m[:, 0], 0.1 * (flight.t_s - flight.t_s[0]), atol=1e-9)


def test_a_word_is_refused(tmp_path: Path) -> None:
    rows = table()
    rows[40][1] = "high"
    with pytest.raises(LogFormatError, match="high"):
        read_log(write(tmp_path / "f.csv", rows))


def test_only_the_longest_stretch_without_a_pause_is_kept(tmp_path: Path) -> None:
    missing = int(100 * LONGEST_PAUSE_S) + 5
    rows = table()
    flight = read_log(write(tmp_path / "f.csv", rows[:20] + rows[20 + missing :]))
    assert len(flight.t_s) == ROWS - 20 - missing
    assert (flight.meta["dropped_outside_stretch"], flight.meta["longest_gap_s"]) == (20, 0.01)


def test_a_stamp_out_of_order_is_dropped(tmp_path: Path) -> None:
    rows = table()
    rows[50][0] = "0.1"
    flight = read_log(write(tmp_path / "f.csv", rows))
    assert flight.meta["dropped_samples"] == 1


def test_a_channel_that_is_never_there_is_named(tmp_path: Path) -> None:
    rows = table()
    for row in rows:
        row[12] = ""
    with pytest.raises(LogFormatError, match=rf"not finite: wy \({ROWS}\)"):
        read_log(write(tmp_path / "f.csv", rows))

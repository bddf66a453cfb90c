"""Binary DataFlash logs, written from the format's definition with struct alone (ArduPilot AP_Logger/LogStructure.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

# Format characters of LogStructure.h; c and C hold hundredths, e hundredths in 32 bits.
CODES = {"B": "B", "b": "b", "Q": "Q", "H": "H", "I": "I", "f": "f", "c": "h", "C": "H", "e": "i", "N": "16s"}
HUNDREDTHS = "cCe"
FORMATS: dict[str, tuple[str, str]] = {
    "PARM": ("QNff", "TimeUS,Name,Value,Default"),
    "GPS": ("QBIH", "TimeUS,Status,GMS,GWk"),
    "RATE": ("Qffffffffffff", "TimeUS,RDes,R,ROut,PDes,P,POut,YDes,Y,YOut,ADes,A,AOut"),
    "ATT": ("QccccCCCCB", "TimeUS,DesRoll,Roll,DesPitch,Pitch,DesYaw,Yaw,ErrRP,ErrYaw,AEKF"),
    "ANG": ("Qfffffff", "TimeUS,DesRoll,Roll,DesPitch,Pitch,DesYaw,Yaw,Dt"),
    "XKQ": ("QBffff", "TimeUS,C,Q1,Q2,Q3,Q4"),
    "AHR2": ("QccCfffff", "TimeUS,Roll,Pitch,Yaw,Alt,Q1,Q2,Q3,Q4"),
    "XKF1": ("QBccCfffffffccce", "TimeUS,C,Roll,Pitch,Yaw,VN,VE,VD,dPD,PN,PE,PD,GX,GY,GZ,OH"),
    "XKF4": ("QBcccccfffHBIHb", "TimeUS,C,SV,SP,SH,SM,SVT,errRP,OFN,OFE,FS,TS,SS,GPS,PI"),
    "PSCN": ("Qffffffff", "TimeUS,TPN,PN,DVN,TVN,VN,DAN,TAN,AN"),
    "PSCE": ("Qffffffff", "TimeUS,TPE,PE,DVE,TVE,VE,DAE,TAE,AE"),
    "PSCD": ("Qffffffff", "TimeUS,TPD,PD,DVD,TVD,VD,DAD,TAD,AD"),
    "CTUN": ("Qffffff", "TimeUS,ThI,ABst,ThO,ThH,DAlt,Alt"),
    "IMU": ("QBffffff", "TimeUS,I,GyrX,GyrY,GyrZ,AccX,AccY,AccZ"),
    "BAT": ("QBff", "TimeUS,Inst,Volt,Curr"),
}
_FMT = 0x80


def _message(kind: int, body: bytes) -> bytes:
    return bytes([0xA3, 0x95, kind]) + body


def _format(kind: int, name: str, codes: str, columns: str) -> bytes:
    length = 3 + struct.calcsize("<" + "".join(CODES.get(c, "64s") for c in codes))
    return _message(
        _FMT, struct.pack("<BB4s16s64s", kind, 89 if kind == _FMT else length, name.encode(), codes.encode(), columns.encode())
    )


@dataclass
class DataFlash:
    """A log while it is put together.

    Attributes:
        left_out: Messages that the vehicle did not log; neither they nor their formats are written.
        renamed: Column to the name under which it is written, as in other firmware versions.
        messages: Stamp [us] and bytes of each message.
    """

    left_out: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    messages: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, name: str, t_us: int, **values: float | str) -> None:
        """Append a message; columns that are not given are zero."""
        if name in self.left_out:
            return
        codes, columns = FORMATS[name]
        numbers: list[float | int | bytes] = []
        for code, column in zip(codes, columns.split(","), strict=True):
            value = t_us if column == "TimeUS" else values.get(column, 0)
            if isinstance(value, str):
                numbers.append(value.encode())
            elif code in HUNDREDTHS:
                numbers.append(round(value * 100))
            else:
                numbers.append(float(value) if code == "f" else int(value))
        layout = "<" + "".join(CODES[c] for c in codes)
        self.messages.append((t_us, _message(list(FORMATS).index(name) + 0x81, struct.pack(layout, *numbers))))

    def head(self) -> bytes:
        """The formats, as they stand at the beginning of a log."""
        parts = [_format(_FMT, "FMT", "BBnNZ", "Type,Length,Name,Format,Columns")]
        for number, (name, (codes, columns)) in enumerate(FORMATS.items()):
            if name not in self.left_out:
                written = ",".join(self.renamed.get(f"{name}.{c}", c) for c in columns.split(","))
                parts.append(_format(0x81 + number, name, codes, written))
        return b"".join(parts)

    def parts(self) -> list[bytes]:
        """Formats, then each message in the order of the stamps."""
        return [self.head(), *(data for _, data in sorted(self.messages, key=lambda m: m[0]))]

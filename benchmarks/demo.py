"""A flight and its report with the bundle that comes with the repository, or the whole path from flight logs; `make demo` runs it.

Without `--from-scratch` the shipped bundle (bundles/demo) is checked, its certificate proven again, and flown. With it everything
is learnt, proven and exported first. `--bundle-only` makes the shipped bundle anew (`make bundle`): the same stages up to the export,
signed with a key that is thrown away; only its public half is kept. Every stage is a `tubepilot` command, shown before it runs, so
that each can be repeated by hand. At the end: wall time and peak memory of each stage. The simulated flight controller runs beside
the flight and is stopped whatever happens.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TUBEPILOT = (sys.executable, "-m", "tubepilot.runtime.cli")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.25
LINK_TIMEOUT_S = 30.0
ATTEMPTS = 3
"""Flights at most: a machine that other programs stop for a tenth of a second cannot fly in real time."""
STOP_TIMEOUT_S = 20.0
SEED = "0"
ROOT = Path(__file__).resolve().parent.parent
SHIPPED, SHIPPED_KEYS, RECIPE = (ROOT / "bundles" / name for name in ("demo", "demo-keys", "demo.toml"))
MOST_BYTES = 5_000_000
"""What the shipped bundle may take of the repository."""
WIND = ("--wind-m-s", "3", "--wind-from-deg", "270", "--gust-m-s", "0.5")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a stage took."""

    name: str
    wall_s: float
    peak_mib: float
    done: bool = True


def descendants(root: int) -> Iterator[int]:
    """Process numbers of a process and everything below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        number = waiting.pop()
        yield number
        waiting += parents.get(number, [])


def resident_mib(root: int) -> float:
    """Resident memory of a process and everything below it [MiB]; pages shared by several count for each."""
    pages = 0
    for number in descendants(root):
        try:
            pages += int(Path(f"/proc/{number}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * PAGE_BYTES / (1 << 20)


class Watch:
    """Samples the memory of all processes below this one until it is told to stop."""

    def __init__(self) -> None:
        """Start sampling."""
        self.peak_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.peak_mib = max(self.peak_mib, resident_mib(os.getpid()))

    def stop(self) -> float:
        """End sampling; the peak [MiB]."""
        self._stop.set()
        self._thread.join()
        return self.peak_mib


def stage(name: str, *arguments: str, needed: bool = True) -> Measured:
    """Run one command, shown before, and measure it; the demo ends if it fails and is needed."""
    print(f"\n=== {name}\n$ tubepilot {shlex.join(arguments)}", flush=True)
    watch, start = Watch(), time.monotonic()
    done = subprocess.run([*TUBEPILOT, *arguments], check=False)
    peak = watch.stop()
    if done.returncode != 0 and needed:
        sys.exit(f"stage {name} ended with status {done.returncode}; the command above shows how to repeat it")
    return Measured(name, time.monotonic() - start, peak, done.returncode == 0)


@contextmanager
def flight_controller(link: Path, truth: Path, log: Path) -> Iterator[None]:
    """The simulated flight controller in the background, there before the flight and gone after it."""
    arguments = ["sim-fc", "--link", str(link), "--truth", str(truth), *WIND]
    print(f"\n=== sim-fc (in the background, output in {log})\n$ tubepilot {shlex.join(arguments)}", flush=True)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([*TUBEPILOT, *arguments], stdout=output, stderr=subprocess.STDOUT)
        try:
            limit = time.monotonic() + LINK_TIMEOUT_S
            while not link.exists():
                if process.poll() is not None or time.monotonic() > limit:
                    sys.exit(f"sim-fc did not make {link}; its output:\n{log.read_text(encoding='utf-8')}")
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def learned(out: Path, bundle: Path, keys: Path, signing_key: Path) -> list[Measured]:
    """The stages from nothing to a bundle.

    Args:
        out: Folder for flights, checkpoint and certificate.
        bundle, keys, signing_key: What the export writes.
    """
    flights, checkpoint, certificate = out / "flights", out / "checkpoint", out / "certificate"
    return [
        stage("collect", "collect", "--out", str(flights), "--seed", SEED),
        stage("train", "train", str(flights), "--out", str(checkpoint), "--seed", SEED),
        stage("certify", "certify", str(checkpoint), "--out", str(certificate), "--rollouts", "256", "--seed", SEED),
        stage(
            "export", "export", "--checkpoint", str(checkpoint), "--certificate", str(certificate), "--out", str(bundle),
            "--keys", str(keys), "--signing-key", str(signing_key), "--samples", "300", "--seed", SEED,
        ),
    ]  # fmt: skip


def run(out: Path, from_scratch: bool) -> list[Measured]:
    """All stages in order.

    Args:
        out: Folder for everything that is made; emptied first.
        from_scratch: Learn, prove and export instead of taking the shipped bundle.
    """
    bundle, keys, target, link = out / "bundle", out / "keys", out / "companion", out / "serial"
    log, truth = out / "flight.mcap", out / "truth.npz"
    measured = []
    if from_scratch:
        measured = learned(out, bundle, keys, out / "signing.key")
    else:
        shutil.copytree(SHIPPED, bundle)
        shutil.copytree(SHIPPED_KEYS, keys)
        print(f"bundle: {SHIPPED}, made by\n{RECIPE.read_text(encoding='utf-8')}")
    measured += [
        stage("verify", "verify", str(bundle), "--keys", str(keys)),
        stage("flash", "flash", str(bundle), str(target), "--keys", str(keys)),
    ]
    for attempt in range(1, ATTEMPTS + 1):
        with flight_controller(link, truth, out / "sim-fc.log"):
            arguments = ["--link", f"px4://{link.absolute()}", "--keys", str(keys), "--log", str(log)]
            flown = stage("fly", "fly", str(target / "active"), *arguments, needed=False)
        measured.append(flown)
        if flown.done or attempt == ATTEMPTS:
            break
        print(f"\nflight {attempt} of at most {ATTEMPTS} was not completed (its own words stand above); sim-fc said:")
        print((out / "sim-fc.log").read_text(encoding="utf-8"))
        log.rename(out / f"flight-{attempt}-not-completed.mcap")
    options = ["--truth", str(truth), "--bundle", str(bundle), "--out", str(out / "report")]
    measured.append(stage("report", "report", str(log), *options))
    return measured


def make_bundle() -> int:
    """Make the shipped bundle anew, and its recipe; the signing key is thrown away."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    changed = "\n".join(line for line in changed.splitlines() if " bundles/" not in line)
    if not commit or changed:
        print(f"the recipe names a commit, and these files differ from it: commit first\n{changed}")
        return 1
    with tempfile.TemporaryDirectory(prefix="tubepilot-bundle-") as scratch:
        folder = Path(scratch)
        learned(folder, folder / "bundle", folder / "keys", folder / "signing.key")
        size = sum(path.stat().st_size for path in (folder / "bundle").iterdir())
        if size > MOST_BYTES:
            print(f"the bundle takes {size} bytes, the limit is {MOST_BYTES}: export with fewer --samples")
            return 1
        for made, place in (("bundle", SHIPPED), ("keys", SHIPPED_KEYS)):
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(exist_ok=True)
            shutil.copytree(folder / made, place)
    digest = hashlib.sha256((SHIPPED / "manifest.toml").read_bytes()).hexdigest()
    RECIPE.write_text(
        f'command = "make bundle"\ncommit = "{commit}"\nseed = {SEED}\nbytes = {size}\nmanifest_sha256 = "{digest}"\n', encoding="utf-8"
    )
    print(f"\n{SHIPPED}: {size} bytes, at commit {commit[:12]}, seed {SEED}")
    print("next: make demo flies it; commit bundles/ as it is")
    return 0


def main() -> int:
    """Run the demo and print what each stage took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything that is made")
    parser.add_argument("--from-scratch", action="store_true", help="learn, prove and export instead of flying the shipped bundle")
    parser.add_argument("--bundle-only", action="store_true", help="make the shipped bundle anew, and fly nothing")
    arguments = parser.parse_args()
    if arguments.bundle_only:
        return make_bundle()
    out: Path = arguments.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    measured = run(out, arguments.from_scratch)
    print(f"\n{'stage':<10}{'wall time [s]':>15}{'peak memory [MiB]':>20}")
    for entry in measured:
        print(f"{entry.name:<10}{entry.wall_s:>15.1f}{entry.peak_mib:>20.0f}")
    total, peak = sum(entry.wall_s for entry in measured), max(entry.peak_mib for entry in measured)
    print(f"{'all':<10}{total:>15.1f}{peak:>20.0f}")
    print(f"\nreport: {out / 'report' / 'report.html'} and {out / 'report' / 'report.png'}")
    if not [entry for entry in measured if entry.name == "fly"][-1].done:
        print(f"the flight was NOT completed in {ATTEMPTS} attempts; the report shows the last one")
        print("next: stop other programs and try again")
        return 1
    print("next: open the page in a browser; README.md says how to fly a real vehicle")
    if not arguments.from_scratch:
        print("      make demo FROM_SCRATCH=1 learns, proves and exports the bundle first")
    return 0


if __name__ == "__main__":
    sys.exit(main())

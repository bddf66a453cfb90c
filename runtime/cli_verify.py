"""Check a bundle on this machine: signature, lengths and hashes, self-test vectors, metadata, and its certificate.

The certificate is checked again where python-flint is installed; elsewhere a line says that it was not.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from tubepilot.firmware_bridge.errors import BundleError

from . import keys, self_test
from .bundle import Bundle, read_bundle
from .check_claims import check_agreement
from .manifest import GRAPHS
from .session import open_session

CHECKER = "tubepilot.runtime.certificate_check"
PLANNER_GRAPHS = ("rollout", "refine", "rank", "policy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument(
        "--keys", type=Path, default=None, metavar="DIR",
        help=f"folder of trusted public keys; {keys.default_folder()} if not given",
    )  # fmt: skip
    parser.add_argument(
        "--no-certificate", action="store_true", help="do not check the certificate again (it can take minutes)"
    )


def check_metadata(bundle: Bundle) -> None:
    """The planner's graphs name the checkpoint of the manifest and describe every input and output.

    Raises:
        BundleError: one does not.
    """
    for graph in PLANNER_GRAPHS:
        name = f"{graph}.onnx"
        session = open_session(bundle.files[name], name)
        metadata = session.get_modelmeta().custom_metadata_map
        if metadata.get("checkpoint_sha256") != bundle.manifest.checkpoint_sha256:
            raise BundleError(f"{name}: made from another checkpoint than the manifest names; export the bundle again")
        ports = [f"input.{port.name}" for port in session.get_inputs()]
        ports += [f"output.{port.name}" for port in session.get_outputs()]
        for port in ports:
            if port not in metadata:
                raise BundleError(f"{name}: its metadata does not describe {port}; export the bundle again")


def find_checker() -> Callable[[Bundle], list[str]] | None:
    """The certificate checker, if it can run here: it needs python-flint, which the on-board install leaves out."""
    if importlib.util.find_spec("flint") is None or importlib.util.find_spec(CHECKER) is None:
        return None
    checker: Callable[[Bundle], list[str]] = importlib.import_module(CHECKER).recheck
    return checker


def run(args: argparse.Namespace) -> int:
    """Verify; see the module."""
    trusted = None if args.keys is None else args.keys.expanduser()
    bundle = read_bundle(args.bundle, trusted)
    manifest = bundle.manifest
    print(f"bundle     {args.bundle}: {manifest.airframe}, version {manifest.version}")
    print(f"signature  ok: {bundle.signer}, fingerprint {bundle.fingerprint}")
    size = sum(len(content) for content in bundle.files.values())
    print(f"files      ok: {len(bundle.files)} files, {size / 1e6:.2f} MB, lengths and hashes as signed")
    check_metadata(bundle)
    print(f"metadata   ok: {', '.join(PLANNER_GRAPHS)} are of checkpoint {manifest.checkpoint_sha256[:16]}")
    check_agreement(bundle)
    print("manifest   ok: period, delay, thrust scale, physics, assumptions and limits are those of the certificate")
    results = self_test.self_test(bundle)
    for result in results:
        mark = "ok" if result.ok else "FAIL"
        print(
            f"self-test  {mark}: {result.graph}.{result.output}: {result.vectors} vectors, "
            f"difference {result.difference:.2g}, bound {result.bound:.2g}"
        )
    self_test.require(results)
    checker = None if args.no_certificate else find_checker()
    if checker is None:
        why = "as asked" if args.no_certificate else f"python-flint or {CHECKER} is not installed here"
        print(f"certificate  not checked again, {why}; its bytes are the signed ones")
    else:
        for line in checker(bundle):
            print(f"certificate  {line}")
    print(f"verified {len(GRAPHS)} graphs; next: tubepilot flash {args.bundle} TARGET")
    return 0

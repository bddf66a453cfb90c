"""On board: tick loop, planner, shield, recorder and the command line."""

import os

# onnxruntime 1.29 and later for Linux tells its maker of every session: three threads every few seconds, a database under the
# home directory, packets. None of that belongs beside a control loop or leaves a vehicle. It is read when onnxruntime is
# imported, and everything here that imports it is imported after this.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

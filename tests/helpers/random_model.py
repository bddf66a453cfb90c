"""The random planner model of the benches, where tests look for it."""

from __future__ import annotations

from tubepilot.export.random_model import random_model as random_model
from tubepilot.export.random_model import random_network as random_network

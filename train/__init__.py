"""Workstation side: learn a world model and a policy from flight logs, and prove invariant sets."""

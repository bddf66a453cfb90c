"""Invariant sets of the closed loop under the backup policy, proven with outward rounding (docs/certificate.md)."""

"""Workstation side: turn a checkpoint and a certificate into a signed bundle of ONNX graphs."""

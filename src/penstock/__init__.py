"""Penstock: the gate on a mail provider's outgoing flow."""

__version__ = "0.1.0"

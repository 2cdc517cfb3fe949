"""Calls to servers over the network: bounded, retried, and without keys in any message."""

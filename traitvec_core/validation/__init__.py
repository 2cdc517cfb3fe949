"""What counts as good, and why: measurements here, verdicts in `checks/`."""

"""What a draft of a trait may cost where nobody says so."""

__all__ = ["DEFAULT_MAX_USD"]

# Here, since a code location that only shows it loads no writer.
DEFAULT_MAX_USD = 1.0

"""One module per provider: requests to draft, and the answers."""

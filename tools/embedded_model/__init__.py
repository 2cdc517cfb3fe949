"""How the small model that is included in traitvec was trained and measured."""

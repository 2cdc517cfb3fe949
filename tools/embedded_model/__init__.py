"""How the small model that ships was trained and measured."""

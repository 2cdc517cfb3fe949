"""How often the verdicts are wrong when there is nothing, and how often they are right."""

"""How often the verdict says yes when the trait is not there, and when it is."""

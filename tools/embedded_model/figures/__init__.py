"""What is measured of the embedded model."""

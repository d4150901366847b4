"""Building, packaging and deploying: locks, preflight, wheel, image and compose file."""

"""Whole processes: workers, beat, Flower and `evergrant up`, against the provider simulator."""

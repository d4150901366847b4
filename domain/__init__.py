"""Pure values, policy and errors: no I/O, no clock, no randomness. `now` and jitter are arguments."""

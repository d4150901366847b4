"""The keys that seal: how the processes agree on one, and how everything is sealed anew under it."""

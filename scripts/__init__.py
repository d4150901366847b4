"""What `make` calls: choosing a Python, building the environment, locking, checking."""

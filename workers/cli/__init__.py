"""The command line, `evergrant`."""

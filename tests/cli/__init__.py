"""The command line by subprocess, as operators and scripts use it."""

"""What providers push to us: read, and verified, before anybody believes it."""

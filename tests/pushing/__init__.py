"""What providers push to us, over real HTTP: the simulator signs, a real server receives."""

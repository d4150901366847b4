"""The suite: real servers, real processes."""

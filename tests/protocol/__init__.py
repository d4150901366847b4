"""The refresh protocol as a model that is searched for interleavings that break it."""

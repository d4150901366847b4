"""The HTTP face as its callers and people's browsers meet it: a real process, and a real provider
simulator."""

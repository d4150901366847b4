"""Plays what providers' pages show against what the definitions say of them, through the real client.

It stands here because it needs both the product's client and the simulator's player, and neither of those
rooms may know the other (docs/decisions/0007): what runs beside the product may use both.
"""

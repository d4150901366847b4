"""Plays transcripts: exchanges that a provider's own pages show, one request and its answer each.

A transcript is written from the provider's pages and clients, never from the product's description of it; so
a description that lies is refused by the player, as the provider would refuse it, and told why.
"""

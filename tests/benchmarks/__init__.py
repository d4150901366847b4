"""Tests of what judges a campaign, on made-up evidence."""

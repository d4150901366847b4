"""`evergrant up`: everything on one machine, supervised, with a live status."""

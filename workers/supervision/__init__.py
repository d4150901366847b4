"""Starts the processes of one data folder in order, keeps them alive, and leaves none behind.

Ours, because the well-known Procfile runners (honcho, foreman) neither order a start by readiness nor
restart what died, and know nothing of children that a killed runner left behind.

`claim` gives a data folder to one supervisor at a time and clears leftovers, `spec` says what to run,
`supervisor` runs it.
"""

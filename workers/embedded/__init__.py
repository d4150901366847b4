"""Postgres and Redis out of wheels, for a machine that has neither; their data lives in one data folder.

`layout` says where things are, `postgres` and `redis` prepare and describe one server each. They start
nothing themselves: what they describe is run by `workers.supervision`.

As root both servers run as an unprivileged account (Postgres insists, Redis deserves it), although the data
folder stays closed to that account: see `unprivileged`.
"""

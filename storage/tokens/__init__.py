"""The token store: one row a connection, claimed under a lease and written behind a version fence."""

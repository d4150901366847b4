"""The definitions that ship with Evergrant: one TOML file a family, read by `providers.catalogue`."""

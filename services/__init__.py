"""The unified token service's parts: refresh protocol, health checks, scheduling, import, alerts, wiring."""

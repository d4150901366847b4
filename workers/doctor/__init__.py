"""`evergrant doctor`: is everything as it must be, and if not, what to do."""

from workers.doctor.examination import Finding, Severity, examine

__all__ = ["Finding", "Severity", "examine"]

"""Restored databases: noticed by every process, and answered by a person."""

from services.restore.guard import RestoreGuard

__all__ = ["RestoreGuard"]

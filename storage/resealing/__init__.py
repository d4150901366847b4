"""Sealing anew, under another key, what is sealed already: never a moment in which nobody could open it."""

from storage.resealing.counts import Broken, OnProgress, Resealed, Resealer
from storage.resealing.rows import TableResealer, table_resealers

__all__ = ["Broken", "OnProgress", "Resealed", "Resealer", "TableResealer", "table_resealers"]

"""The refresh protocol: admit, claim, present, judge, commit, record."""

from services.refresh.protocol import RefreshProtocol
from services.refresh.result import RefreshResult

__all__ = ["RefreshProtocol", "RefreshResult"]

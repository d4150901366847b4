"""Connecting: from a signed link over a person's consent to a stored grant.

`asking` makes the link, `leaving` sends the browser to the provider, `returning` takes it back; `devices` is
for those without a browser. `exchange` calls the provider, `landing` stores what it brought.
"""

from services.connecting.connecting import Connecting
from services.connecting.face import Face
from services.connecting.outcomes import CannotConnect, Failure, Finished

__all__ = ["CannotConnect", "Connecting", "Face", "Failure", "Finished"]

"""The arguments of the tasks that other services send, checked before anything is done."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self, TypeVar
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from domain.asks import RefreshAsk

Arguments = TypeVar("Arguments", bound=BaseModel)


#: Postgres has no NUL, and names have no control characters.
_Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]


class InvalidArguments(ValueError):
    """The task's arguments are wrong; the message names each and what is wrong with it."""


class WhichConnection(BaseModel):
    """How a task names a connection: by its id, or by user, provider and account."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    connection_id: UUID | None = None
    user_id: _Text | None = None
    provider_id: _Text | None = None
    account_id: _Text = ""
    reason: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.connection_id is None and (self.user_id is None or self.provider_id is None):
            message = "name the connection by connection_id, or by user_id and provider_id"
            raise ValueError(message)
        return self


class RefreshArguments(WhichConnection):
    """Arguments of `evergrant.refresh_token`.

    Attributes:
        min_validity_seconds: The token must live at least this long, capped at half its lifetime.
        if_version: Refresh only if this is still the version; None: any.
        scheduled: Set by the scheduler alone: refresh if due.
        tenant: Set by the scheduler alone: which of the provider's tenants the grant belongs to.
    """

    min_validity_seconds: Annotated[float, Field(ge=0, le=86400)] = 60
    if_version: StrictInt | None = None
    force: StrictBool = False
    scheduled: StrictBool = False
    tenant: _Text | None = None

    @property
    def ask(self) -> RefreshAsk:
        """Return what is asked of the token."""
        return RefreshAsk(
            scheduled=self.scheduled,
            min_validity=timedelta(seconds=self.min_validity_seconds),
            if_version=self.if_version,
            force=self.force,
        )


class CheckArguments(WhichConnection):
    """Arguments of `evergrant.check_token`."""

    scheduled: StrictBool = False


def parse(model: type[Arguments], given: dict[str, object]) -> Arguments:
    """Return the checked arguments.

    Raises:
        InvalidArguments: Names every argument that is wrong, without its value.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise InvalidArguments(problems) from None

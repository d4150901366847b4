"""The pages that a person sees who connects an account."""

from api.pages.rendering import away, finished, nowhere

__all__ = ["away", "finished", "nowhere"]

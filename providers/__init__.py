"""The wire: provider definitions, requests in each provider's dialect, and judgement of the answers."""

"""The provider simulator, spoken to over loopback like a provider."""

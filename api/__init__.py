"""The HTTP face: thin routes over the services. FastAPI appears here alone."""

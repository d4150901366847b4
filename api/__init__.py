"""The HTTP face: thin routes over the services, and the pages that people see while they connect.

FastAPI appears here alone. `app.make` builds the application, `server.serve` runs it.
"""

"""Where processes are composed: Celery app, worker boot, command line, embedded servers, supervision."""

"""What a worker of ours carries, compared with Celery's own bound and with what tutorials teach."""

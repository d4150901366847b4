"""How our processes use Redis as Celery's broker: in batches, atomically, beside stock kombu."""

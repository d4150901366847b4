"""Another team's program: Celery and the standard library, nothing of ours. Run as a script.

For each line of standard input, a JSON object {"task", "kwargs"}, it sends the task as the documentation
says, and writes a line: {"seconds", "result"}, or {"seconds", "raised", "message"}.
"""

import json
import os
import sys
import time

from celery import Celery

url = os.environ["EVERGRANT_REDIS_URL"]
client = Celery(broker=url, backend=url)
client.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 3}

for line in sys.stdin:
    order = json.loads(line)
    began = time.monotonic()
    sent = client.send_task(order["task"], kwargs=order["kwargs"], queue="on_demand", ignore_result=False)
    answer: dict[str, object]
    try:
        answer = {"result": sent.get(timeout=45)}
    except Exception as error:  # noqa: BLE001 - the test wants to know whatever a caller would meet
        answer = {"raised": type(error).__name__, "message": str(error)}
    sys.stdout.write(json.dumps({"seconds": time.monotonic() - began, **answer}) + "\n")
    sys.stdout.flush()

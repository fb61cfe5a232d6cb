"""client_server.py - `tern serve` on a free port for the tests with real clients (client_*.py).

The program is named by the environment variable TERN or by the first argument of the test.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

PROGRAM = os.environ.get("TERN") or (sys.argv.pop(1) if len(sys.argv) > 1 else "build/tern")


class Server:
    """A running server of the embedded model; use it with `with`."""

    def __init__(self, *options):
        command = [PROGRAM, "serve", "--port", "0", "--name", "demo", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://[^ ]+", line)
        if not found:
            raise RuntimeError(f"the server did not start: {line!r}")
        self.root = found.group(0).rstrip()
        self.url = self.root + "/v1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        if status != 0:
            raise RuntimeError(f"the server ended with status {status}")

    def get(self, path):
        with urllib.request.urlopen(self.root + path, timeout=60) as answer:
            return answer.read().decode()

    def post(self, path, body):
        request = urllib.request.Request(
            self.root + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def metric(self, name):
        found = re.search(rf"^vllm:{name}{{[^}}]*}} (\S+)$", self.get("/metrics"), re.M)
        return float(found.group(1))

    def wait_idle(self, seconds=10.0):
        """Until no request is running or waiting; fails after `seconds`."""
        end = time.monotonic() + seconds
        while self.metric("num_requests_running") + self.metric("num_requests_waiting") > 0:
            if time.monotonic() > end:
                raise AssertionError("a request is still running")
            time.sleep(0.01)

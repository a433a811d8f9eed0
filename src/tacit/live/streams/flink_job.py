"""Runs a job of Flink SQL: a program for the Python of Flink's own virtual environment.

It imports nothing of Tacit, whose dependencies and Flink's exclude each other. Its input is a line,
one JSON object: ``settings``, ``statements`` (the last is the one that runs), ``jars``, and where
``savepoints`` go. It prints ``running`` when the job was taken. A line ``stop`` ends the job with a
savepoint, and it prints ``stopped``. When its input ends, so does it: whoever started it is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading


def main() -> int:
    given = json.loads(sys.stdin.readline())
    from pyflink.common import Configuration
    from pyflink.table import EnvironmentSettings, TableEnvironment

    configuration = Configuration()
    for name, value in given["settings"].items():
        configuration.set_string(name, value)
    if given["jars"]:
        configuration.set_string("pipeline.jars", ";".join(given["jars"]))
    environment = TableEnvironment.create(
        EnvironmentSettings.new_instance().with_configuration(configuration).build()
    )
    *tables, insert = given["statements"]
    for statement in tables:
        environment.execute_sql(statement)
    job = environment.execute_sql(insert).get_job_client()
    print("running", job.get_job_id(), flush=True)
    ending = threading.Event()

    def watch() -> None:
        try:
            job.get_job_execution_result().result()
        except Exception as error:
            print(error, file=sys.stderr, flush=True)
        if not ending.is_set():
            os._exit(4)  # it is to run until it is stopped

    threading.Thread(target=watch, daemon=True).start()
    if sys.stdin.readline() != "stop\n":
        os._exit(3)
    ending.set()
    print("stopped", job.stop_with_savepoint(False, given["savepoints"]).result(), flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

"""Local stack: NATS, S3, PostgreSQL and the jobs as child processes, for tests, demos and `make up`.

Names are imported when they are used: the tools for a cluster need few of them, and start at each command of a person.
"""

from typing import TYPE_CHECKING

from keda_jobs.lazy import importer

if TYPE_CHECKING:
    from stack.certificates import Authority, Certificate
    from stack.jobs import BatchWorker, JobProcess, all_jobs, job_names, jobs_of
    from stack.local import FREE_PORTS, EventStack, LocalStack, Ports
    from stack.ports import free_port
    from stack.postgres import PostgresServer
    from stack.process import Process, StackError, shell_status
    from stack.raw import publish_raw
    from stack.servers import NatsServer, S3Server
    from stack.ui import UiProcess
    from stack.waiting import until, wait_until

__all__ = [
    "FREE_PORTS",
    "Authority",
    "BatchWorker",
    "Certificate",
    "EventStack",
    "JobProcess",
    "LocalStack",
    "NatsServer",
    "Ports",
    "PostgresServer",
    "Process",
    "S3Server",
    "StackError",
    "UiProcess",
    "all_jobs",
    "free_port",
    "job_names",
    "jobs_of",
    "publish_raw",
    "shell_status",
    "until",
    "wait_until",
]

__getattr__ = importer(
    __name__,
    {
        "FREE_PORTS": "local",
        "Authority": "certificates",
        "BatchWorker": "jobs",
        "Certificate": "certificates",
        "EventStack": "local",
        "JobProcess": "jobs",
        "LocalStack": "local",
        "NatsServer": "servers",
        "Ports": "local",
        "PostgresServer": "postgres",
        "Process": "process",
        "S3Server": "servers",
        "StackError": "process",
        "UiProcess": "ui",
        "all_jobs": "jobs",
        "free_port": "ports",
        "job_names": "jobs",
        "jobs_of": "jobs",
        "publish_raw": "raw",
        "shell_status": "process",
        "until": "waiting",
        "wait_until": "waiting",
    },
)

"""Local stack: NATS, S3, PostgreSQL and the jobs as child processes, for tests, demos and `make up`."""

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

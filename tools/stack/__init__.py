"""The local stack: NATS, S3 and the jobs as child processes, for tests, demo and `make up`."""

from stack.jobs import JobProcess, event_jobs
from stack.local import FREE_PORTS, LocalStack, Ports
from stack.process import Process, StackError
from stack.servers import NatsServer, S3Server, free_port
from stack.waiting import until, wait_until

__all__ = [
    "FREE_PORTS",
    "JobProcess",
    "LocalStack",
    "NatsServer",
    "Ports",
    "Process",
    "S3Server",
    "StackError",
    "event_jobs",
    "free_port",
    "until",
    "wait_until",
]

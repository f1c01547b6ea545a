"""Stream of long work: the last report on each message that a pod works on, and which messages are cancelled."""

from __future__ import annotations

from nats.errors import Error as NatsError

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.long_work import Report
from keda_jobs.domain.subjects import LONG_STREAM, cancel_subject, progress_subject
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.client import received_headers
from keda_jobs.jetstream.connection import ANSWER_TIMEOUT_S, NatsConnection
from keda_jobs.jetstream.publish import publish_with_retry

_NOT_FOUND = "404"
_LONGEST_NAME = 100


async def post_report(connection: NatsConnection, message: Identity, report: Report, kept_s: int) -> None:
    """Replace the report on a message. The server forgets it after `kept_s` seconds. Raises `BrokerUnavailable`.

    Nobody waits for a confirmation, because the next report follows in seconds.
    """
    subject = progress_subject(message.job, str(message))
    try:
        await connection.client.publish(subject, report.model_dump_json().encode(), headers={"Nats-TTL": f"{kept_s}s"})
    except NatsError as error:
        raise BrokerUnavailable(f"the progress was not sent: {connection.reason(error)}") from error


async def cancelled_by(connection: NatsConnection, message: Identity) -> str | None:
    """Return who has cancelled a message, None while nobody has. Raises `BrokerUnavailable`."""
    question = f"$JS.API.DIRECT.GET.{LONG_STREAM}.{cancel_subject(message.job, str(message))}"
    try:
        answer = await connection.client.request(question, timeout=ANSWER_TIMEOUT_S)
    except NatsError as error:
        raise BrokerUnavailable(f"a cancellation cannot be read: {connection.reason(error)}") from error
    if received_headers(answer).status == _NOT_FOUND:
        return None
    return answer.data.decode(errors="replace")[:_LONGEST_NAME]


async def cancel(connection: NatsConnection, message: Identity, name: str) -> None:
    """Store that `name` cancels a message. Raises as `publish`."""
    subject = cancel_subject(message.job, str(message))
    await publish_with_retry(connection, Outgoing(subject, name.encode(errors="replace"), message.msg_id("cancel"), {}))

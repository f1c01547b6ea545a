"""Tables of claim queues accept only names that are safe in SQL, and only columns that a job may write."""

import pytest

from keda_jobs.claims import ClaimTable


def test_the_names_of_a_queue_come_from_its_table() -> None:
    table = ClaimTable("invoice-reminders", "invoices", "invoice_no", ("cents",), ("note",))
    assert (table.queue, table.due, table.expired, table.claimable) == (
        "invoices_queue",
        "invoices_queue_due",
        "invoices_queue_expired",
        "invoices_claimable",
    )


@pytest.mark.parametrize(
    "name", ["", "Users", "users; DROP TABLE users", 'us"ers', "2users", "u" * 42, "u-u", "ü", "u\n"]
)
@pytest.mark.parametrize("place", ["name", "key", "reads", "writes"])
def test_a_name_that_is_not_a_plain_identifier_is_refused(name: str, place: str) -> None:
    value = (name,) if place in ("reads", "writes") else name
    with pytest.raises(ValueError, match="is not a plain lower-case name"):
        ClaimTable(**{"batch_name": "job", "name": "users", place: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "Job", "job'", "1job", "job_name", "j" * 42])
def test_a_batch_name_that_is_not_a_job_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a job's name"):
        ClaimTable(name, "users")


@pytest.mark.parametrize("column", ["number", "batch_status", "attempts", "next_attempt_at", "error", "batch_id"])
def test_a_handler_cannot_write_columns_of_the_queue(column: str) -> None:
    with pytest.raises(ValueError, match=f"a handler cannot write {column}: it belongs to the queue"):
        ClaimTable("job", "users", "number", (column,), (column,))

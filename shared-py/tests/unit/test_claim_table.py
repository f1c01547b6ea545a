"""Tables of claim queues have any name of PostgreSQL, quoted, and write only columns that a job may write."""

from dataclasses import replace

import pytest

from keda_jobs.claims import ClaimTable


def test_the_names_of_a_queue_come_from_its_table() -> None:
    table = ClaimTable("invoice-reminders", "invoices", "invoice_no", ("cents",), ("note",))
    assert (table.queue, table.due, table.expired, table.claimable) == (
        "keda_jobs.invoices_queue",
        "keda_jobs.invoices_queue_due",
        "keda_jobs.invoices_queue_expired",
        "keda_jobs.invoices_claimable",
    )


@pytest.mark.parametrize("name", ["Users", "Order Lines", "order", 'us"ers', "u" * 42, "a.b", "ü", "x'; DROP TABLE y"])
def test_a_queue_on_a_table_of_any_other_name_is_named_after_its_job(name: str) -> None:
    table = ClaimTable("order-lines", name, "Id")
    quoted = name.replace('"', '""')
    assert (table.sql_name, table.sql_key) == (f'"{quoted}"', '"Id"')
    assert table.queue == f"keda_jobs.{name if name == 'order' else 'order_lines'}_queue"


def test_tables_of_one_name_in_two_schemas_have_two_queues() -> None:
    one, other = (
        ClaimTable("shop-orders", "orders", schema="shop"),
        ClaimTable("old-orders", "orders", schema="Old.Shop"),
    )
    assert (one.sql_name, other.sql_name) == ('"shop"."orders"', '"Old.Shop"."orders"')
    assert (one.queue, other.queue) == ("keda_jobs.shop_orders_queue", "keda_jobs.old_orders_queue")
    assert replace(ClaimTable("shop-orders", "orders"), schema="shop").queue == "keda_jobs.orders_queue"


@pytest.mark.parametrize("name", ["", "u" * 64, "ü" * 32, "u\0"])
@pytest.mark.parametrize("place", ["name", "key", "schema", "reads", "writes"])
def test_what_cannot_be_a_name_is_refused(name: str, place: str) -> None:
    value = (name,) if place in ("reads", "writes") else name
    with pytest.raises(ValueError, match="is no name for PostgreSQL"):
        ClaimTable(**{"batch_name": "job", "name": "users", place: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "Job", "job'", "1job", "job_name", "j" * 42])
def test_a_batch_name_that_is_not_a_job_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a job's name"):
        ClaimTable(name, "users")


@pytest.mark.parametrize("column", ["number", "batch_status", "attempts", "next_attempt_at", "error", "batch_id"])
def test_a_handler_cannot_write_columns_of_the_queue(column: str) -> None:
    with pytest.raises(ValueError, match=f"a handler cannot write {column}: it belongs to the queue"):
        ClaimTable("job", "users", "number", (column,), (column,))

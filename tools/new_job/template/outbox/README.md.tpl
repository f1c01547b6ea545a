# <job>

Sends the rows of the table `<table>` as events. An application inserts a row in the transaction that changes its data,
so that the event is sent if the change is committed, and only then. [docs/outbox.md](../../docs/outbox.md) has the
guarantees and the figures.

- **In**: rows of `<table>`: `subject` names an event of `events.py`, `payload` is its JSON.
- **Effect**: none but the event. A sent row is deleted.
- **Out**: `<subject>`. A row that cannot be sent is `failed` and has the reason in `error`.

Run it: `PG_DSN=postgresql://<worker>:…@localhost:5432/keda_jobs python -m <package>`. A worker sends until no row is left,
waits `IDLE_S` for new ones, and exits.

## Try it

```sh
make up
export PG_DSN=postgresql://keda_jobs@127.0.0.1:5432/keda_jobs
psql "$PG_DSN" -c "INSERT INTO <table> (subject, payload) VALUES ('<subject>', '{\"<field>\": \"a\"}')"   # or another client
HTTP_PORT=0 IDLE_S=0 .venv/bin/python -m <package>
.venv/bin/keda-jobs batch status <job>
```

The role of the application needs one right: `GRANT INSERT (subject, payload) ON <table> TO …`.

## Settings

<!-- settings:start -->
<!-- settings:end -->

## Failures

| what | what happens |
|---|---|
| `subject` names no event of this job, or `payload` is not that event | `failed` permanently, at once, with `UnknownSubject` or `InvalidEvent` |
| the event is larger than half of NATS' `max_payload` | `failed` permanently, at once, with `EventTooLarge` |
| NATS is unavailable, full, or has no stream for the subject | no row starts, and no attempt is counted. The worker goes on when NATS does |
| the worker dies | its rows are claimable again after `LEASE_S`, and their events keep their ids |
| PostgreSQL is unavailable | the worker backs off and tries again, for `LEASE_S` while it has rows and then for `CLAIM_TIMEOUT_S` |

## Table

`migrations/` makes the table. `make up` and `setup-all.sh` apply it. To change the table, add a file with the next number.
A released migration stays as it is. To keep sent rows, leave `delete_completed` out of `job.py` and delete old rows yourself:
those with `batch_status = 'completed'`. `<worker>` and `<scaler>` are the roles of workers and KEDA.

# <job>

Works on the rows of the table `<table>`.

- **In**: rows whose `batch_status` is `pending`. Of each, `name` is read.
- **Effect**: `checked_name`, the name with single spaces, is written, and the row is `completed`. A second run over a
  row writes the same.
- **Out**: no event. A row that fails is `failed` and has the reason in `error`.

Run it: `PG_DSN=postgresql://<worker>:…@localhost:5432/keda_jobs python -m <package>`. A worker claims `CLAIM_SIZE` rows
at a time until none is claimable, and exits. A handler of `list[Entered]` gets many rows at once: see
docs/writing-a-job.md.

## Try it

```sh
make up
export PG_DSN=postgresql://keda_jobs@127.0.0.1:5432/keda_jobs
psql "$PG_DSN" -c "INSERT INTO <table> (name) SELECT 'Ada   Lovelace' FROM generate_series(1, 1000)"   # or another client
HTTP_PORT=0 .venv/bin/python -m <package>
.venv/bin/keda-jobs batch status <job>
```

## Settings

<!-- settings:start -->
<!-- settings:end -->

## Failures

| what | what happens |
|---|---|
| no name | `failed` permanently, at once, with `Invalid` and the field |
| any other error in the handler, or a value that the table refuses | only that row is claimable again after n × `RETRY_STEP_S`. After `MAX_ATTEMPTS` attempts it is `failed` permanently |
| the worker dies | its rows are claimable again after `LEASE_S` |
| PostgreSQL is unavailable | no row starts until its result can be written. The worker backs off and tries again, for `LEASE_S` while it has rows and then for `CLAIM_TIMEOUT_S` |

## Table

`migrations/` makes the table. `make up` and `setup-all.sh` apply it. To change the table, add a file with the next number.
A released migration stays as it is. For a table that exists already and has an integer key, leave out `CREATE TABLE` and name
the key in `job.py` (`key="…"`). `<worker>` and `<scaler>` are the roles of workers and KEDA.

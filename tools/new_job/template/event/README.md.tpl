# <job>

Reads `<subject>`.

- **In**: `<subject>`: `{"<field>": "…"}`, 1 to 1024 characters. Unknown fields are ignored.
- **Effect**: a line in the log. A second delivery writes it again.
- **Out**: no event.

Run it: `python -m <package>` (consumer `<job>-consumer`).

## Try it

```sh
make up
.venv/bin/keda-jobs pub <subject> '{"<field>": "a"}'
.venv/bin/keda-jobs status
tail .stack/<job>.log
```

## Settings

<!-- settings:start -->
<!-- settings:end -->

## Failures

| what | what happens |
|---|---|
| the event is not JSON, or has no text `<field>` | dead letter (`InvalidEvent`) |
| the header block does not begin with the line `NATS/1.0` | dead letter (`UnreadableHeaders`) |
| `<field>` empty or over 1024 characters | dead letter (`Unusable`) |
| any other error, or no result within `HANDLER_TIMEOUT_S` | retry, up to `RETRY_MAX_DELIVERIES` deliveries, then dead letter |

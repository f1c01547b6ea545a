# <job>

Reads `<subject>`, one event a pod.

- **In**: `<subject>`: `{"<field>": "…"}`, 1 to 1024 characters. Unknown fields are ignored.
- **Effect**: a line in the log. A second delivery writes it again.
- **Out**: no event.

Run it: `python -m <package>` (consumer `<job>-consumer`). It works on one event and exits with 0, at once where there is
none. docs/long-work.md says what a deploy, a drain and a cancellation do to it.

## Try it

```sh
make up
.venv/bin/keda-jobs pub <subject> '{"<field>": "a"}'
.venv/bin/keda-jobs status --watch    # how far it is, and its id
.venv/bin/keda-jobs cancel <job> ID
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
| `keda-jobs cancel` | the handler ends within seconds, dead letter (`Cancelled`) |
| any other error, or no result within `HANDLER_TIMEOUT_S` | retry from the beginning, up to `RETRY_MAX_DELIVERIES` deliveries, then dead letter |
| SIGTERM, of a node's drain | it has `SHUTDOWN_GRACE_S` to finish, then the event goes back and another pod begins anew |

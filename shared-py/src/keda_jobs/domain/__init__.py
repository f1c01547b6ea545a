"""Pure decisions and values: events, messages, retries, dead letters. No I/O."""

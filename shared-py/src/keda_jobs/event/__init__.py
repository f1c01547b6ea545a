"""Event jobs: pull messages from JetStream, run the handler, settle each delivery."""

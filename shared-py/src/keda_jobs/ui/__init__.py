"""Web page for operators: what runs, what waits, what died. It reads and acts with the functions of the CLI."""

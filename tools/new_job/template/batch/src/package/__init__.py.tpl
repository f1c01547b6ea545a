"""Job <job>: works on the rows of <table>."""

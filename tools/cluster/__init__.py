"""Tools for the scripts of `k8s/`: secrets, schemas of batch jobs, port-forwards, status."""

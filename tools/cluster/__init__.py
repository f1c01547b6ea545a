"""What the scripts of `k8s/` need besides kubectl: secrets, the schemas of batch jobs, port-forwards, the status."""

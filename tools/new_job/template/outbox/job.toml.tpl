# How to run <job>. docs/job-toml.md has the keys. After a change: make job-files
[scale]
polling_s = 5 # seconds until KEDA sees the first rows, at one query of a millisecond each
max_replicas = 2 # each sends thousands of events a second

[settings]
IDLE_S = 60 # a worker stays this long after its last rows, and sends new ones within half a second

[resources]
requests = {cpu = "250m", memory = "128Mi"} # 70 MB for batches of 20 000 small rows
limits = {cpu = "1", memory = "256Mi"} # one process uses one core. Twice the requested memory

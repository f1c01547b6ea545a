# How to run <job>. docs/job-toml.md has the keys. After a change: make job-files
[scale]
max_replicas = 10 # what the servers that it calls can take, and the nodes

[resources]
requests = {cpu = "100m", memory = "96Mi"} # 60 MB at rest
limits = {cpu = "1", memory = "256Mi"} # plus the memory of one event's work

[settings]
RETRY_MAX_DELIVERIES = 3 # a retry repeats all of the work

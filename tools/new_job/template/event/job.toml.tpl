# How to run <job>. docs/job-toml.md has the keys. After a change: make job-files
[scale]
max_replicas = 10 # what the servers that it calls can take
lag_threshold = 40 # five rounds of CONCURRENCY (8): a pod finishes them before another has started

[resources]
requests = {cpu = "100m", memory = "96Mi"} # 60 MB at rest
limits = {cpu = "1", memory = "256Mi"} # plus CONCURRENCY (8) × the memory of one event

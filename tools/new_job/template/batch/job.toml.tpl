# How to run <job>. docs/job-toml.md has the keys. After a change: make job-files
[scale]
max_replicas = 5 # two workers saturate a database of two cores. Set what your database can take

[resources]
requests = {cpu = "500m", memory = "128Mi"} # 66 MB for batches of 20 000 small rows. It uses all the CPU that it gets
limits = {cpu = "1", memory = "256Mi"} # one process uses one core. Twice the requested memory

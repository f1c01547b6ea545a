[project]
name = "<job>"
version = "0.1.0"
description = "Job <job>: <purpose>"
requires-python = ">=3.11"
dependencies = ["keda-jobs[<extras>]"]

[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["src/<package>"]

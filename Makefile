SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/tools
# Tests start hundreds of processes. With this variable of some containers each would compile the repository for itself.
unexport PYTHONDONTWRITEBYTECODE

# ARGS are passed on to the command of a target: make test ARGS="-k dead -x", make up ARGS="--nats-port 4333".
ARGS ?=
# Test files run in parallel processes; ARGS="-n 0" runs them in one, as a debugger needs it.
PYTEST := python -m pytest --numprocesses=auto
# One URL of yours for `make demo`; without it the demo brings its own pictures and users.
URL ?=
FOLDER ?= .stack/e2e
# A new job: its name, what it is (event or batch), the subject it reads or the table it works on.
NAME =
KIND = event
SUBJECT =
TABLE =
# What `make new-env` copies.
FROM = prod
# What `make build`, `push-all` and `deploy` are about: one job; where its images live; which version. ENV, here or as a
# variable of the shell, names the environment.
JOB ?=
DIGEST ?=
export REGISTRY ?=
export TAG ?=
export BASE ?=
export PULL_SECRET ?=

# No target is a file.
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

##@ Run
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv: locked dependencies, servers, all jobs (PYTHON=python3.12 picks one)
	@tools/setup.sh

demo: ## Both demos, pictures and users (URL=https://… takes only a picture of yours)
	@tools/setup.sh demo
	@python -m demo $(if $(URL),"$(URL)") $(ARGS)

demo-batch: setup ## 200 000 users through PostgreSQL and two workers, ending with the counts
	@python -m demo --only users $(ARGS)

up: setup ## Keep the stack and all jobs running in the background, on the standard ports
	@python -m stack up $(ARGS)

down: setup ## Stop what `make up` started; data and logs stay in .stack
	@python -m stack down $(ARGS)

dash: setup ## Prometheus, and Grafana where Docker can pull it, on what `make up` started (PROMETHEUS=path)
	@python -m dash

##@ Test
test: setup ## Tests of the library and the jobs, with real servers (ARGS="-m 'not slow'" leaves out what takes long)
	@$(PYTEST) $(ARGS)

test-repo: ## Tests of the tools, documents, templates, CI and manifests
	@tools/setup.sh demo
	@$(PYTEST) -o testpaths=tests/repo $(ARGS)

test-ui: ## The page of `keda-jobs ui` in a real browser (CHROMIUM= names the program)
	@tools/setup.sh ui
	@python -m pytest --numprocesses=2 tests/ui $(ARGS)

pictures: ## Draw the pictures of the page in README and docs/ui.md anew
	@tools/setup.sh ui
	@python -m pytest -q tests/ui/test_pictures.py --pictures docs/ui

lint: setup ## ruff, mypy, shellcheck, hadolint, zizmor, import rules, locks, job files (ARGS=types runs one)
	@tools/lint.sh $(ARGS)

fmt: setup ## Format and fix what ruff can
	@ruff check --fix .
	@ruff format .

bench: ## Measure against the baselines
	@tools/setup.sh bench
	@python tests/bench $(ARGS)

faults: setup ## Random faults during many runs, and what is lost (ARGS="--seed 1 --runs 36", REPORT=1 writes docs/faults.md)
	@PYTHONPATH=tests:$$PYTHONPATH python -m faults.campaign $(if $(REPORT),--report) $(ARGS)

soak: ## An hour of mixed load, and whether each process stays flat (ARGS="--minutes 5", REPORT=1 writes docs/measured.md)
	@tools/setup.sh curves
	@PYTHONPATH=tests:$$PYTHONPATH python -m soak $(if $(REPORT),--report) $(ARGS)

databases: setup ## Batch jobs behind PgBouncer, and on PostgreSQL of the system (PGBOUNCER= names the program)
	@tools/databases.sh $(ARGS)

monitoring: setup ## Alerts and dashboards against a real Prometheus (PROMETHEUS=, PROMTOOL= name the programs)
	@python -m pytest tests/monitoring $(ARGS)

##@ Build
build: ## Build the image of one job: JOB=image-resize (REGISTRY=, TAG= name it, BASE= is what it stands on)
	@tools/build.sh "$(JOB)"

build-all: ## Build the images of all jobs
	@tools/build.sh --all

push-all: ## Build the images of all jobs and push them to REGISTRY=
	@tools/build.sh --all --push

build-test-servers: ## Build keda-jobs-test-servers, the S3 and picture server of test clusters
	@tools/build.sh --test-servers

changed: ## The jobs that a change touches (BASE=origin/main: since which commit; ARGS=--json)
	@python3 tools/changed_jobs.py $(if $(BASE),"$(BASE)") $(ARGS)

test-images: setup ## Try each job's image <job>:dev with Docker and the local stack
	@python -m pytest tests/images $(ARGS)

##@ Deploy
deploy: setup ## Apply the manifests of one job with its image: JOB=, REGISTRY=, TAG= (ENV=, PULL_SECRET=; ARGS=--dry-run shows them)
	@tools/deploy.sh "$(JOB)" $(ARGS)

pin: setup ## Write a job's digest into an overlay: JOB=, DIGEST=sha256:…, ENV= (REGISTRY= at first). Without JOB, list them
	@python tools/pin.py --job "$(JOB)" --digest "$(DIGEST)"

manifests: setup ## Check every manifest against schemas, our rules and the declarations of the jobs
	@python -m pytest tests/repo/manifests $(ARGS)

cluster: ## Make a kind cluster with everything in it
	@k8s/setup-scripts/kind-cluster.sh $(ARGS)

e2e: setup ## Tests on the cluster of KUBECONFIG
	@python -m pytest tests/e2e $(ARGS)

curves: ## Draw the curves of the last `make e2e` (FOLDER=docs draws those of the documentation)
	@tools/setup.sh curves
	@PYTHONPATH=tests:$$PYTHONPATH python tests/e2e/plot.py $(FOLDER)

##@ Maintain
lock: setup ## Make the lock files again (ARGS=--upgrade takes the newest versions)
	@python tools/lock.py $(ARGS)

new-job: setup ## Make a job: NAME=video-probe SUBJECT=video-uploaded, or KIND=long, KIND=outbox, KIND=batch (TABLE=)
	@python -m new_job --name="$(NAME)" --kind="$(KIND)" --subject="$(SUBJECT)" --table="$(TABLE)"

new-env: setup ## Make an environment, a copy of another: NAME=staging (FROM=test for one with test servers)
	@python -m new_env --name="$(NAME)" --from="$(FROM)"

job-files: setup ## Write Dockerfile, service.yaml, consumer.json and schemas of events of each job from its JOB and job.toml
	@python -m job_files

settings-docs: setup ## Write the settings tables of the READMEs and the tables of metrics again
	@python tools/settings_docs.py && python tools/metrics_docs.py

dashboards: setup ## Write the dashboards and the alerts' links in k8s/monitoring again
	@python -m dashboards

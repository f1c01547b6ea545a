# <job>: works on the rows of <table>. One file, complete: kubectl apply -f jobs/<job>/service.yaml
# It needs what k8s/setup-scripts/setup-all.sh makes: the namespace, the secret `postgres`, and the schema in the database.
apiVersion: v1
kind: ServiceAccount
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
automountServiceAccountToken: false
---
# How KEDA logs in: a role that may read one number, with a limit on query time and on connections.
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: <job>-pgconn
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  secretTargetRef:
    - {parameter: host, name: postgres, key: PG_HOST}
    - {parameter: port, name: postgres, key: PG_PORT}
    - {parameter: dbName, name: postgres, key: PG_DATABASE}
    - {parameter: sslmode, name: postgres, key: PG_SSLMODE}
    - {parameter: password, name: postgres, key: <scaler>}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  pollingInterval: 30 # seconds, at one query of a millisecond each
  minReplicaCount: 0
  maxReplicaCount: 5 # two workers saturate a database of two cores. Set what your database can take
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 5
  scalingStrategy:
    # The query counts no claimed rows, so all that it counts is work for new Jobs.
    strategy: accurate
    # A Job is ready after its first claim. Until then the query still counts its rows.
    pendingPodConditions: [Ready]
  rollout:
    strategy: gradual # a change of this file stops no running Job
  triggers:
    - type: postgresql
      metadata:
        userName: <scaler>
        query: SELECT rows FROM keda_jobs.<table>_claimable
        targetQueryValue: "20000" # one Job for each CLAIM_SIZE rows
      authenticationRef:
        name: <job>-pgconn
  jobTargetRef:
    parallelism: 1
    completions: 1
    backoffLimit: 0 # failed rows are still in the table, and the next Job takes them
    activeDeadlineSeconds: 3600 # ends a worker that hangs. A healthy one gives back its rows, and the next Job continues
    ttlSecondsAfterFinished: 600 # time to read a log, also of Jobs beyond KEDA's history limits
    podFailurePolicy:
      rules:
        - action: FailJob # exit code 2: misconfigured, another pod would fail too
          onExitCodes: {containerName: <job>, operator: In, values: [2]}
        - action: Ignore # the node is drained: start another pod at once
          onPodConditions: [{type: DisruptionTarget, status: "True"}]
    template:
      metadata:
        labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs, needs-postgres: "true"}
      spec:
        restartPolicy: Never
        serviceAccountName: <job>
        automountServiceAccountToken: false
        enableServiceLinks: false
        shareProcessNamespace: true # process 1 ignores a SIGTERM that comes before Python has set a handler
        terminationGracePeriodSeconds: 45 # SHUTDOWN_GRACE_S (30), and time to close the batch
        securityContext:
          runAsNonRoot: true
          runAsUser: 10001
          runAsGroup: 10001
          seccompProfile: {type: RuntimeDefault}
        containers:
          - name: <job>
            image: <job>:dev # a local build; `make deploy` puts in the registry's name and tag
            imagePullPolicy: IfNotPresent
            env:
              - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
              - {name: PG_HOST, valueFrom: {secretKeyRef: {name: postgres, key: PG_HOST}}}
              - {name: PG_PORT, valueFrom: {secretKeyRef: {name: postgres, key: PG_PORT}}}
              - {name: PG_DATABASE, valueFrom: {secretKeyRef: {name: postgres, key: PG_DATABASE}}}
              - {name: PG_SSLMODE, valueFrom: {secretKeyRef: {name: postgres, key: PG_SSLMODE}}}
              - {name: <WORKER>_PASSWORD, valueFrom: {secretKeyRef: {name: postgres, key: <worker>}}}
              - name: PG_DSN
                value: postgresql://<worker>:$(<WORKER>_PASSWORD)@$(PG_HOST):$(PG_PORT)/$(PG_DATABASE)?sslmode=$(PG_SSLMODE)
            envFrom:
              # Settings of one environment, such as MAX_ATTEMPTS: kubectl create configmap <job> --from-literal=…
              - configMapRef: {name: <job>, optional: true}
            ports:
              - {name: http, containerPort: 8080}
            resources:
              requests: {cpu: 500m, memory: 128Mi} # 66 MB for batches of 20 000 small rows. It uses all the CPU that it gets
              limits: {cpu: "1", memory: 256Mi} # one process uses one core. Twice the requested memory
            securityContext:
              allowPrivilegeEscalation: false
              readOnlyRootFilesystem: true
              capabilities: {drop: [ALL]}
            livenessProbe:
              httpGet: {path: /healthz, port: http}
              periodSeconds: 10
              timeoutSeconds: 5 # a node short of CPU answers late
              failureThreshold: 3
            readinessProbe: # ready after the first claim, until then KEDA counts the Job as pending
              httpGet: {path: /readyz, port: http}
              periodSeconds: 1
              timeoutSeconds: 5
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  # Nothing beyond the namespace's policies: DNS for all, PostgreSQL for needs-postgres, Prometheus to 8080.
  podSelector:
    matchLabels: {app: <job>}
  policyTypes: [Ingress, Egress]

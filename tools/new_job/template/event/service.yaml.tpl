# <job>: reads <subject>. One file, complete: kubectl apply -f jobs/<job>/service.yaml
# It needs what k8s/setup-scripts/setup-all.sh makes: the namespace, NATS with the consumer, the secret of its user.
apiVersion: v1
kind: ServiceAccount
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
automountServiceAccountToken: false
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  scaleTargetRef:
    name: <job>
  pollingInterval: 5 # at most this many seconds from a publish to the first pod, at one request to NATS each
  cooldownPeriod: 30 # a pod starts in a few seconds, so an idle one is not kept longer
  minReplicaCount: 0
  maxReplicaCount: 10 # the number of cores that this job may use at once
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          # With the HPA's default of 300 s, one retry soon after a burst would start as many pods as the burst had.
          stabilizationWindowSeconds: 15
          policies:
            - {type: Percent, value: 50, periodSeconds: 15} # the leaving pods finish their messages
  triggers:
    - type: nats-jetstream
      metadata:
        # The headless service: with several servers KEDA asks nats-0.<this host> and so on for the consumer's leader.
        natsServerMonitoringEndpoint: nats-headless.nats.svc.cluster.local:8222
        account: $G
        stream: keda-jobs-events
        consumer: <job>-consumer
        lagThreshold: "40" # five rounds of CONCURRENCY (8): a pod finishes them before another has started
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  # No replicas here: KEDA sets them, and applying this file again must not change them.
  revisionHistoryLimit: 3
  selector:
    matchLabels: {app: <job>}
  template:
    metadata:
      labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
    spec:
      serviceAccountName: <job>
      automountServiceAccountToken: false
      enableServiceLinks: false
      shareProcessNamespace: true # process 1 ignores a SIGTERM that comes before Python has set a handler
      terminationGracePeriodSeconds: 45 # SHUTDOWN_GRACE_S (30), and time to close the connection to NATS
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {app: <job>}
      containers:
        - name: <job>
          image: <job>:dev # a local build; `make deploy` puts in the registry's name and tag
          imagePullPolicy: IfNotPresent
          env:
            - {name: NATS_URL, value: "nats://nats.nats.svc.cluster.local:4222"}
          envFrom:
            - secretRef: {name: nats-<job>}
            # Settings of one environment, such as RETRY_STEP_S: kubectl create configmap <job> --from-literal=…
            - configMapRef: {name: <job>, optional: true}
          ports:
            - {name: http, containerPort: 8080}
          resources:
            requests: {cpu: 100m, memory: 96Mi} # 60 MB at rest
            limits: {cpu: "1", memory: 256Mi} # plus CONCURRENCY (8) × the memory of one event
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          # Only readiness checks NATS. A job in trouble exits after HOLD_TIMEOUT_S.
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5 # a node short of CPU answers late
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi} # only Python's multiprocessing writes there
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  maxUnavailable: 50% # an evicted pod loses nothing, and half of them work on through a node's upgrade
  unhealthyPodEvictionPolicy: AlwaysAllow # while the store is away no pod is ready, and a node must drain all the same
  selector:
    matchLabels: {app: <job>}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  # In addition to the namespace's policies: DNS for all, Prometheus to 8080.
  podSelector:
    matchLabels: {app: <job>}
  policyTypes: [Egress]
  egress:
    - to:
        - namespaceSelector:
            matchLabels: {kubernetes.io/metadata.name: nats}
          podSelector:
            matchLabels: {app: nats}
      ports:
        - {port: 4222}

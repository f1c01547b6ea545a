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
  pollingInterval: 5 # seconds from a publish to the first pod at most; one request to NATS each
  cooldownPeriod: 30 # a pod starts in a few seconds, so an idle one need not be kept longer
  minReplicaCount: 0
  maxReplicaCount: 10 # as many cores as this job may use at once
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          # With the HPA's usual 300 s, one retry that comes due soon after a burst starts as many pods as the burst had.
          stabilizationWindowSeconds: 15
          policies:
            - {type: Percent, value: 50, periodSeconds: 15} # those that leave finish their messages meanwhile
  triggers:
    - type: nats-jetstream
      metadata:
        # The headless service: in a cluster KEDA asks nats-0.<this host> and so on for the consumer's leader.
        natsServerMonitoringEndpoint: nats-headless.nats.svc.cluster.local:8222
        account: $G
        stream: keda-jobs-events
        consumer: <job>-consumer
        lagThreshold: "40" # five rounds of CONCURRENCY (8): a pod is done with them before another has started
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  # No replicas here: KEDA sets them, and applying this file again must not.
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
      shareProcessNamespace: true # as process 1 the job would be deaf to a SIGTERM that comes before its imports are done
      terminationGracePeriodSeconds: 45 # SHUTDOWN_GRACE_S (30), and time to say goodbye to NATS
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
            requests: {cpu: 100m, memory: 96Mi} # at rest 60 MB
            limits: {cpu: "1", memory: 256Mi} # and CONCURRENCY (8) × what one event takes
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          # Only readiness looks at NATS' health: a restart would not mend it.
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5 # a node that is short of CPU answers late
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi} # nothing is written there but by Python's multiprocessing
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: <job>
  namespace: keda-jobs-prod
  labels: {app: <job>, app.kubernetes.io/part-of: keda-jobs}
spec:
  maxUnavailable: 50% # an evicted pod loses nothing; half of them go on working through a node's upgrade
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
  # On top of the namespace's own: DNS for all, Prometheus to 8080.
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

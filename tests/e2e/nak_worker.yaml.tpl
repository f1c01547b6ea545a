# The worker of tests/nats_scripts/nak_worker.py, in image-download's image because nats-py is in it. Made and deleted by
# guides.py, which adds the ScaledObject, the scripts and the login.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: ${NAME}
  namespace: keda-jobs-prod
  labels: {app: "${NAME}", app.kubernetes.io/part-of: keda-jobs}
spec:
  replicas: 0
  selector:
    matchLabels: {app: "${NAME}"}
  template:
    metadata:
      labels: {app: "${NAME}", app.kubernetes.io/part-of: keda-jobs, needs-nats: "true"}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 10 # a fetch (2 s) and the work (1 s)
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: worker
          image: image-download:dev
          imagePullPolicy: IfNotPresent
          command: [python, /script/nak_worker.py, work, "${NAME}", "${DELAY_S}"]
          env:
            - {name: NATS_URL, value: "nats://nats.nats.svc.cluster.local:4222"}
          envFrom:
            - secretRef: {name: nak-worker}
            - configMapRef: {name: trust, optional: true}
          resources:
            requests: {cpu: 20m, memory: 48Mi}
            limits: {cpu: "1", memory: 128Mi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: script, mountPath: /script, readOnly: true}
            - {name: ca, mountPath: /etc/keda-jobs/ca, readOnly: true}
      volumes:
        - name: script
          configMap: {name: nak-worker}
        - name: ca
          configMap: {name: ca, optional: true}

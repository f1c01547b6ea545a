# The store, for the jobs. Values are put in as base64 by k8s/setup-scripts/secrets.sh, so no character needs care.
apiVersion: v1
kind: Secret
metadata:
  name: r2
  namespace: keda-jobs-prod
  labels: {app.kubernetes.io/part-of: keda-jobs}
type: Opaque
data:
  R2_ENDPOINT_URL: ${R2_ENDPOINT_URL}
  R2_ACCESS_KEY_ID: ${R2_ACCESS_KEY_ID}
  R2_SECRET_ACCESS_KEY: ${R2_SECRET_ACCESS_KEY}
  R2_BUCKET: ${R2_BUCKET}

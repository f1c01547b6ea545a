# The store, for the jobs. k8s/setup-scripts/secrets.sh puts values in as base64, so no character needs escaping.
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

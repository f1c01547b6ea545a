# The store, for the jobs: R2_ENDPOINT_URL, R2_BUCKET, and keys or a region. k8s/setup-scripts/secrets.sh makes it all.
apiVersion: v1
kind: Secret
metadata:
  name: r2
  namespace: ${JOBS_NAMESPACE}
  labels: {app.kubernetes.io/part-of: keda-jobs}
type: Opaque
data: ${STORE_DATA}

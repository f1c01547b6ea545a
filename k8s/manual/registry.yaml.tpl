# The registry of the images, for nodes that may not pull from it otherwise. tools/deploy.sh names it with PULL_SECRET=registry.
apiVersion: v1
kind: Secret
metadata:
  name: registry
  namespace: ${JOBS_NAMESPACE}
  labels: {app.kubernetes.io/part-of: keda-jobs}
type: kubernetes.io/dockerconfigjson
data:
  .dockerconfigjson: ${REGISTRY_CONFIG}

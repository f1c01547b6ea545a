# The database, for batch jobs and KEDA: PG_HOST, PG_PORT, PG_DATABASE and PG_SSLMODE of PG_DSN without its owner, and a
# password for each role (<table>_worker, <table>_scaler of every batch job). k8s/setup-scripts/secrets.sh makes it all, and
# from it the Secret `postgres-operator`: a PG_DSN for people on call, who may not read this one.
apiVersion: v1
kind: Secret
metadata:
  name: postgres
  namespace: ${JOBS_NAMESPACE}
  labels: {app.kubernetes.io/part-of: keda-jobs}
type: Opaque
data: ${POSTGRES_DATA}

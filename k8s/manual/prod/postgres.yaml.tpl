# The database, for batch jobs and KEDA: PG_HOST, PG_PORT, PG_DATABASE and PG_SSLMODE of PG_DSN without its owner, and a
# password a role (<table>_worker, <table>_scaler of every batch job). All of it is made by k8s/setup-scripts/secrets.sh.
apiVersion: v1
kind: Secret
metadata:
  name: postgres
  namespace: keda-jobs-prod
  labels: {app.kubernetes.io/part-of: keda-jobs}
type: Opaque
data: ${POSTGRES_DATA}

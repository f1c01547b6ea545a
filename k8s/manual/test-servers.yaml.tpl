# Credentials of the S3 server and the PostgreSQL of a test cluster: the same as in r2 and PG_DSN.
apiVersion: v1
kind: Secret
metadata:
  name: test-servers
  namespace: ${TEST_NAMESPACE}
  labels: {app.kubernetes.io/part-of: keda-jobs}
type: Opaque
data:
  S3_AUTH_KEY: ${S3_AUTH_KEY}
  POSTGRES_USER: ${POSTGRES_USER}
  POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}
  POSTGRES_DB: ${POSTGRES_DB}

"""Object storage: one bucket of Cloudflare R2 or any other S3 server."""

from keda_jobs.storage.bucket import Bucket, ObjectMissing, ObjectTooLarge
from keda_jobs.storage.client import S3Timeouts
from keda_jobs.storage.s3 import S3Bucket

__all__ = ["Bucket", "ObjectMissing", "ObjectTooLarge", "S3Bucket", "S3Timeouts"]

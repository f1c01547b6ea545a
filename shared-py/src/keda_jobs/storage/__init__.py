"""Object storage: one bucket of Cloudflare R2 or any other S3 server.

The S3 client is imported when it is used, because a job without a store has none.
"""

from typing import TYPE_CHECKING

from keda_jobs.lazy import importer
from keda_jobs.storage.bucket import Bucket, ObjectMissing, ObjectTooLarge

if TYPE_CHECKING:
    from keda_jobs.storage.client import S3Timeouts
    from keda_jobs.storage.s3 import S3Bucket

__all__ = ["Bucket", "ObjectMissing", "ObjectTooLarge", "S3Bucket", "S3Timeouts"]

__getattr__ = importer(__name__, {"S3Bucket": "s3", "S3Timeouts": "client"})

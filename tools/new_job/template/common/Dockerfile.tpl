# Built from the root of the repository by tools/build.sh. Plain instructions only, for every builder.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
# Package index of the builder's machine. pip reads it, and it stays in this stage.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
# Same sources, same layers: otherwise compiled sets differ in order, and files have the time of the build.
ENV PYTHONHASHSEED=0
# The official base has no compiled standard library, and compiling it at each start costs half a second of CPU.
# A base with one gets it again, because Docker's old builder loses the layer after an empty one (moby#37965).
RUN stdlib=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && mkdir -p /layers/stdlib \
 && python -m compileall -q -x '/(ensurepip|idlelib|site-packages|test|tkinter|turtledemo)/' "$stdlib" \
 && find "$stdlib" -name '*.pyc' -exec cp --parents -t /layers/stdlib {} + \
 && find /layers/stdlib -exec touch --date=@0 {} +
COPY jobs/<job>/requirements.txt /tmp/requirements.txt
# The jobs call no service of botocore but S3. The descriptions of the others would be a third of the image.
# nkeys has no wheel. It is pure Python.
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-cache-dir --no-compile --require-hashes --only-binary :all: --no-binary nkeys \
    -r /tmp/requirements.txt \
 && find /venv/lib -path '*/botocore/data/*' -prune -type d ! -name s3 -exec rm -r {} + \
 && python -m compileall -q --invalidation-mode unchecked-hash /venv/lib \
 && mkdir -p /layers/venv \
 && mv /venv /layers/venv/ \
 && find /layers/venv -exec touch --no-dereference --date=@0 {} +
# Pure Python: copied without a build backend, and compiled here because a pod that starts from zero has to be fast.
COPY shared-py/src jobs/<job>/src /layers/app/app/
RUN python -m compileall -q --invalidation-mode unchecked-hash -s /layers/app -p / /layers/app/app \
 && chmod -R u=rwX,go=rX /layers/app \
 && find /layers/app -exec touch --date=@0 {} +

FROM ${BASE}
COPY --from=build /layers/stdlib /
COPY --from=build /layers/venv /
COPY --from=build /layers/app /
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["python", "-m", "<package>"]
# Last, because they change with each commit.
ARG SOURCE=""
ARG REVISION=""
ARG VERSION=""
LABEL org.opencontainers.image.title="<job>" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"

# A CPU image that runs `edgekd`. Build: docker build -t edgekd .   Run: docker run --rm -v "$PWD:/work" edgekd --help
# torch's default build carries gigabytes of CUDA that EdgeKD does not use: point pip to a CPU build with
# --build-arg PIP_EXTRA_INDEX_URL=... or PIP_FIND_LINKS=...
FROM python:3.11.11-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
WORKDIR /source
RUN python -m venv /opt/edgekd
ENV PATH=/opt/edgekd/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY edgekd edgekd
COPY targets targets
COPY profiles profiles
RUN pip install -c constraints.txt '.[tvm]'

FROM python:3.11.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++-aarch64-linux-gnu \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 edgekd
COPY --from=build /opt/edgekd /opt/edgekd
ENV PATH=/opt/edgekd/bin:$PATH
USER edgekd
WORKDIR /work
ENTRYPOINT ["edgekd"]

# The pipeline in a container, on a CPU or an NVIDIA GPU:
#
#   docker build --tag tinylm .
#   docker run --name run --init --interactive --tty tinylm
#
#   docker build --build-arg TORCH=default --tag tinylm:cuda .
#   docker run --name gpu-run --init --interactive --tty --gpus all tinylm:cuda
#
# The CUDA variant needs nothing of CUDA in the image: torch brings it. The host needs NVIDIA's driver and its container
# toolkit. `tinylm serve` answers only the machine that it runs on: start its container with `--network host`.
# `base` is also the image of the dev containers (.devcontainer/).
FROM debian:bookworm-slim AS base

# The compiler and Python's headers are for torch.compile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates g++ git make openssh-client python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --shell /bin/bash tinylm \
    && install --directory --owner tinylm --group tinylm /home/tinylm/tinylm
USER tinylm

FROM base
ARG TORCH=cpu
WORKDIR /home/tinylm/tinylm
COPY --chown=tinylm:tinylm . .
RUN TORCH="$TORCH" UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1 make env
ENV PATH="/home/tinylm/tinylm/.venv/bin:$PATH"
CMD ["make", "repro"]

# The command `convnext-dense` with the versions of requirements/lock.txt: docs/docker.md.
#   docker build --tag convnext-dense .                          # CUDA; runs on a CPU too
#   docker build --tag convnext-dense:cpu --build-arg DEVICE=cpu .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
COPY setup.py pyproject.toml README.md LICENSE ./
COPY configs configs
COPY convnext_dense convnext_dense
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm
ARG DEVICE=cuda
LABEL org.opencontainers.image.title="convnext_dense" \
      org.opencontainers.image.licenses="Apache-2.0"

# OpenCV needs the libraries; Triton and torch.compile need the compiler. Without versions, because
# Debian keeps only the newest of a release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# The lock has torch with CUDA. For a CPU, torch's own builds come first, and CUDA's packages are
# left out; everything else is the same.
COPY requirements/lock.txt /requirements/lock.txt
RUN case "${DEVICE}" in \
        cuda) ;; \
        cpu) grep -E '^torch(vision)?==' /requirements/lock.txt > /requirements/torch.txt \
            && sed -i -E '/^(cuda|nvidia)-|^triton==/d' /requirements/lock.txt \
            && python -m pip install --no-cache-dir --no-deps --only-binary :all: \
                --index-url https://download.pytorch.org/whl/cpu -r /requirements/torch.txt ;; \
        *) echo "DEVICE is cpu or cuda, not ${DEVICE}" >&2 && exit 2 ;; \
    esac \
    && python -m pip install --no-cache-dir --only-binary :all: -r /requirements/lock.txt

# Code changes more often than the packages, so it comes last.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python -m pip install --no-cache-dir --no-deps /wheels/*.whl

# Any user may write here, so `--user` of the host's user works: data, results, downloaded weights.
RUN useradd --uid 1000 user && install --directory --mode 1777 /data /work /cache
ENV CONVNEXT_DENSE_DATA=/data \
    TORCH_HOME=/cache \
    HOME=/cache \
    PYTHONUNBUFFERED=1
VOLUME ["/data", "/cache"]
WORKDIR /work
USER 1000
ENTRYPOINT ["convnext-dense"]
CMD ["--help"]

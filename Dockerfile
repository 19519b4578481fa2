# A release of the toolchain that Cargo.toml names. The slim image has gcc and the C
# library's headers.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build

# Dependencies first, with a stub of our own code: this layer is rebuilt only when a
# dependency or the contract changes.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
RUN mkdir -p src tests/it \
    && touch src/lib.rs tests/it/main.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --profile dist --locked --bin recsys

# assets: the binary contains the sample catalogue.
COPY assets assets
COPY src src
# COPY keeps file times, which may be older than the build of the stub.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --profile dist --locked --bin recsys


# The C library of the same Debian, CA certificates and a non-root user; no shell, no
# package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/dist/recsys /usr/local/bin/recsys

# After the binary, so that a new revision does not invalidate its layer.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recsys" \
      org.opencontainers.image.description="Online recommender service: events in, ranked and explained lists out, over gRPC" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"

# The image's user "nonroot", by number: Kubernetes checks runAsNonRoot on numbers only.
USER 65532:65532
# The default address, the loopback, cannot be reached from outside the container. On
# this one "serve" refuses to start without a tenants file (RECSYS_TENANTS_PATH) or
# RECSYS_INSECURE_ALLOW_UNAUTHENTICATED=true. The admin port, off by default, is on: it
# is not reachable unless it is published. An empty address turns it off.
ENV RECSYS_LISTEN_ADDR=0.0.0.0:50051 \
    RECSYS_ADMIN_ADDR=0.0.0.0:9090
EXPOSE 50051 9090

# Checks readiness; needs no shell and no key, and with TLS uses the admin port.
# Kubernetes ignores this and uses gRPC probes.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/recsys", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/recsys"]
CMD ["serve"]

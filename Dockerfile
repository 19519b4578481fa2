# The toolchain is pinned, to a release of the version that Cargo.toml promises. The slim
# image has what the build needs besides Rust: gcc and the C library's headers.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build

# Dependencies first, against a stub of our own code: this layer is built again
# only when a dependency or the contract changes.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
RUN mkdir -p src tests/it \
    && touch src/lib.rs tests/it/main.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --bin recsys

# assets: the sample catalogue becomes part of the binary.
COPY assets assets
COPY src src
# COPY keeps file times, which may be older than the stub's build: without the
# touch cargo would take the stub for up to date.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin recsys


# The C library (of the same Debian), CA certificates and a non-root user; no
# shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/recsys /usr/local/bin/recsys

# After the binary, so that a new revision does not invalidate its layer.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recsys" \
      org.opencontainers.image.description="Online recommender service: events in, ranked and explained lists out, over gRPC" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"

# The image's user "nonroot", by number: Kubernetes can check runAsNonRoot only
# on a number.
USER 65532:65532
# A container's loopback is reached by nobody, so the default address would make
# a silent service. On this one "serve" refuses to start, and says so, until it is
# given a tenants file (RECSYS_TENANTS_PATH) or told to let everyone in
# (RECSYS_INSECURE_ALLOW_UNAUTHENTICATED=true): an image cannot choose that. The admin port is off by default; in a container it is on,
# since nobody reaches it unless it is published. An empty address turns it off.
ENV RECSYS_LISTEN_ADDR=0.0.0.0:50051 \
    RECSYS_ADMIN_ADDR=0.0.0.0:9090
EXPOSE 50051 9090

# Asks for readiness; needs no shell and no key, and with TLS asks on the admin
# port. Kubernetes ignores this and uses its own
# gRPC probes.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/recsys", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/recsys"]
CMD ["serve"]

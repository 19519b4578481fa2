"""A client of recsys: a well-configured channel, and errors that can be read."""

import os
import pathlib
import uuid
from collections import namedtuple

import grpc
from recsys.v1.catalog_pb2_grpc import CatalogServiceStub
from recsys.v1.recommender_pb2_grpc import RecommenderServiceStub

from . import pb
from .errors import RecsysError, Violation

__all__ = ["Client", "RecsysError", "Violation", "pb"]

SERVICE_CONFIG = pathlib.Path(__file__).with_name("service_config.json")
LARGEST_REPLY_BYTES = 16 << 20


class Client(RecommenderServiceStub, CatalogServiceStub):
    """Makes the calls of both services, such as `client.Recommend(request, timeout=0.5)`.

    Create one for each process, after any fork; it is safe to share among threads. Failed
    calls raise RecsysError. Each call is retried as service_config.json says.

    Args:
        addresses: a host name and port, all of whose addresses are used, or several IPv4
            addresses, each with a port, separated by commas.
        key: the key, if the server requires one.
        tls: whether to connect over TLS and trust the public CAs.
        ca_file: the CA certificates to trust instead (PEM); enables TLS.
        cert_file, cert_key_file: the client's certificate and its key, for mutual TLS.
        server_name: the name in the server's certificate, if not the host name.
        timeout: the deadline of unary calls, retries included, in seconds, unless a call
            has its own.

    Settings that are not passed are read from RECSYS_ADDRESSES, RECSYS_KEY,
    RECSYS_CA_FILE, RECSYS_CERT_FILE, RECSYS_CERT_KEY_FILE and RECSYS_SERVER_NAME.
    """

    def __init__(self, addresses=None, *, key=None, tls=False, ca_file=None,
                 cert_file=None, cert_key_file=None, server_name=None, timeout=10.0):
        addresses = _setting(addresses, "ADDRESSES") or "127.0.0.1:50051"
        key = _setting(key, "KEY")
        server_name = _setting(server_name, "SERVER_NAME")
        several = "," in addresses
        target = f"ipv4:{addresses}" if several else f"dns:///{addresses}"
        options = [
            ("grpc.service_config", SERVICE_CONFIG.read_text()),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            # By default gRPC sends at most two pings without data, because some servers
            # reject more; recsys does not limit them.
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.max_receive_message_length", LARGEST_REPLY_BYTES),
            # Otherwise a list of addresses would be sent as the authority, which servers
            # reject.
            ("grpc.default_authority", server_name or addresses.split(",")[0]),
        ]
        credentials = _tls(tls, _setting(ca_file, "CA_FILE"), _setting(cert_file, "CERT_FILE"),
                           _setting(cert_key_file, "CERT_KEY_FILE"))
        self._channel = (grpc.secure_channel(target, credentials, options) if credentials
                         else grpc.insecure_channel(target, options))
        channel = grpc.intercept_channel(self._channel, _Interceptor(key, timeout))
        RecommenderServiceStub.__init__(self, channel)
        CatalogServiceStub.__init__(self, channel)

    def ingest(self, *events, timeout=None):
        """Sends events of any users, at most 1,000; returns a result for each.

        An event without an `event_id` gets one, in place: a retry counts once, and so does
        an event that you send again.
        """
        for event in events:
            event.event_id = event.event_id or str(uuid.uuid4())
        request = pb.BatchIngestEventsRequest(events=events)
        return list(self.BatchIngestEvents(request, timeout=timeout).results)

    def close(self):
        """Closes the connections. Calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _setting(given, name):
    return os.environ.get(f"RECSYS_{name}") if given is None else given


def _tls(tls, ca_file, cert_file, cert_key_file):
    if not (tls or ca_file):
        if cert_file or cert_key_file:
            raise ValueError("a client certificate needs tls or ca_file")
        return None
    read = [pathlib.Path(file).read_bytes() if file else None
            for file in (ca_file, cert_key_file, cert_file)]
    return grpc.ssl_channel_credentials(*read)


class _Details(
    namedtuple("_Details", ("method", "timeout", "metadata", "credentials", "wait_for_ready",
                            "compression")),
    grpc.ClientCallDetails,
):
    """The settings of a call."""


class _Interceptor(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor,
                   grpc.StreamStreamClientInterceptor):
    """Adds the key to every call, and to unary calls the deadline and readable errors."""

    def __init__(self, key, timeout):
        self.key, self.timeout = key, timeout

    def details(self, call, timeout):
        metadata = list(call.metadata or ())
        if self.key:
            metadata.append(("authorization", f"Bearer {self.key}"))
        return _Details(call.method, timeout, metadata, call.credentials, call.wait_for_ready,
                        call.compression)

    def intercept_unary_unary(self, continuation, call, request):
        timeout = self.timeout if call.timeout is None else call.timeout
        outcome = continuation(self.details(call, timeout), request)
        # A call that was made with `.future` is not done yet: its caller reads the error.
        if outcome.done() and (error := outcome.exception()):
            raise RecsysError(error) from error
        return outcome

    def intercept_unary_stream(self, continuation, call, request):
        return continuation(self.details(call, call.timeout), request)

    def intercept_stream_stream(self, continuation, call, requests):
        return continuation(self.details(call, call.timeout), requests)

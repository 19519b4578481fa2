"""A server between clients and recsys that refuses each call once or twice, as an
overloaded or a stopping recsys would, before it lets it through: only clients with
the recommended retry policy get an answer.

The first attempt is RESOURCE_EXHAUSTED with `grpc-retry-pushback-ms`, the second
UNAVAILABLE, the third goes on.
"""

import collections
import concurrent.futures
import contextlib

import grpc

ATTEMPTS_BEFORE = "grpc-previous-rpc-attempts"
# For a call that would hang.
PATIENCE_S = 60


class Refuser(grpc.GenericRpcHandler):
    def __init__(self, upstream):
        self.upstream = upstream
        self.attempts = collections.Counter()

    def service(self, call):
        if not call.method.startswith("/recsys.v1."):
            # Whoever asks for health is told that this server has none, and then takes
            # it for healthy.
            return None
        before = int(dict(call.invocation_metadata).get(ATTEMPTS_BEFORE, 0))
        self.attempts[before] += 1
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.answer(call, before, request, context)
        )

    def answer(self, call, before, request, context):
        if before == 0:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "10"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "refused")
        if before == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "refused")
        try:
            return self.upstream.unary_unary(call.method)(request, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata())
            context.abort(error.code(), error.details())


@contextlib.contextmanager
def refusing(upstream_address):
    """Runs it until the block ends; gives its address and its count of attempts."""
    with grpc.insecure_channel(upstream_address) as upstream:
        refuser = Refuser(upstream)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=(refuser,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", refuser.attempts
        finally:
            server.stop(None).wait()

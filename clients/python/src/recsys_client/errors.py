"""Errors of calls."""

import typing

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class Violation(typing.NamedTuple):
    """A rule that a field of the request breaks."""

    field: str
    description: str


class RecsysError(grpc.RpcError):
    """A call failed. `reason` is stable: compare it, not `message`.

    Attributes:
        code: the grpc.StatusCode.
        message: what happened, in words, with every broken rule.
        reason: the name of the cause, such as "INVALID_FIELD"; empty if the error did not
            come from recsys, such as "connection refused".
        violations: every rule that the request breaks.
        retry_after: seconds after which the server expects a retry to succeed; None if it
            sent no delay.
    """

    def __init__(self, error: grpc.RpcError):
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details() or ""
        self.reason = ""
        self.violations: list[Violation] = []
        self.retry_after: float | None = None
        for detail in _details(error):
            self._read(detail)
        super().__init__(self.code, self.message)

    def _read(self, detail):
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            self.reason = info.reason
        elif detail.Unpack(bad):
            self.violations = [Violation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            self.retry_after = retry.retry_delay.ToTimedelta().total_seconds()

    def __str__(self):
        return f"{self.code.name} {self.reason}".strip() + f": {self.message}"


def _details(error):
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # The details contradict the status: a proxy replaced one of them.
        return []
    return status.details if status else []

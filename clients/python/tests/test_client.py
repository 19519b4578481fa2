"""Tests against a server in this process: python -m unittest discover tests"""

import concurrent.futures
import time
import unittest

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from recsys.v1 import recommender_pb2_grpc

from recsys_client import Client, RecsysError, Violation, pb

KEY = "shop_key"
INVALID = error_details_pb2.BadRequest.FieldViolation(
    field="limit", description="must be 1 to 100, or 0 for the default")


def refuse(context, code, message, *details):
    """Ends a call as recsys does, with google.rpc details."""
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))


class Recommender(recommender_pb2_grpc.RecommenderServiceServicer):
    """Stores events by their ids; can lose replies."""

    def __init__(self):
        self.stored, self.sent_ids, self.lost_replies = {}, [], 0

    def BatchIngestEvents(self, request, context):
        results = []
        for event in request.events:
            self.sent_ids.append(event.event_id)
            known = event.event_id in self.stored
            self.stored[event.event_id] = event
            results.append(pb.IngestResult(
                outcome=pb.INGEST_OUTCOME_DUPLICATE if known else pb.INGEST_OUTCOME_ACCEPTED))
        if self.lost_replies:
            self.lost_replies -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the reply is lost")
        return pb.BatchIngestEventsResponse(results=results)

    def Recommend(self, request, context):
        if ("authorization", f"Bearer {KEY}") not in context.invocation_metadata():
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "no key",
                   error_details_pb2.ErrorInfo(reason="KEY_UNKNOWN", domain="recsys.v1"))
        if request.limit > 100:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "limit must be 1 to 100, or 0 for the default",
                   error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="recsys.v1"),
                   error_details_pb2.BadRequest(field_violations=[INVALID]))
        if request.user_id == "over quota":
            delay = error_details_pb2.RetryInfo()
            delay.retry_delay.FromMilliseconds(1500)
            # The library must not retry this one.
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls",
                   error_details_pb2.ErrorInfo(reason="QUOTA_EXCEEDED"), delay)
        if request.user_id == "deadline":
            return pb.RecommendResponse(request_id=str(context.time_remaining()))
        if request.user_id == "slow":
            # Until the client gives up.
            while context.is_active():
                time.sleep(0.01)
        return pb.RecommendResponse(request_id="list")

    def ExportUserPages(self, request, context):
        authorized = ("authorization", f"Bearer {KEY}") in context.invocation_metadata()
        yield pb.ExportUserPagesResponse(stored_model=str(authorized))


class ClientTest(unittest.TestCase):
    def setUp(self):
        self.recommender = Recommender()
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        recommender_pb2_grpc.add_RecommenderServiceServicer_to_server(self.recommender, server)
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        self.addCleanup(lambda: server.stop(None).wait())
        self.client = Client(self.address, key=KEY)
        self.addCleanup(self.client.close)

    def failure(self, client, request, **call):
        with self.assertRaises(RecsysError) as raised:
            client.Recommend(request, **call)
        return raised.exception

    def test_an_event_whose_reply_is_lost_is_retried_and_counts_once(self):
        self.recommender.lost_replies = 1
        event = pb.InteractionEvent(user_id="ada", event_type="purchase", content_id="2004")
        results = self.client.ingest(event)
        self.assertEqual(results[0].outcome, pb.INGEST_OUTCOME_DUPLICATE)
        self.assertEqual(self.recommender.sent_ids, [event.event_id] * 2)
        self.assertEqual(list(self.recommender.stored), [event.event_id])

    def test_events_keep_their_ids_and_others_get_one_each(self):
        events = [pb.InteractionEvent(event_id=name) for name in ("view-1", "", "")]
        self.client.ingest(*events)
        sent = self.recommender.sent_ids
        self.assertEqual(sent[0], "view-1")
        self.assertEqual(len(set(sent)), 3)
        self.assertNotIn("", sent)
        self.client.ingest(events[1])
        self.assertEqual(self.recommender.sent_ids[3], sent[1])

    def test_every_call_has_a_deadline(self):
        request = pb.RecommendRequest(user_id="deadline")
        remaining = float(self.client.Recommend(request).request_id)
        self.assertTrue(0 < remaining < 60, remaining)
        remaining = float(self.client.Recommend(request, timeout=500).request_id)
        self.assertGreater(remaining, 60)

    def test_a_call_ends_at_its_deadline(self):
        error = self.failure(self.client, pb.RecommendRequest(user_id="slow"), timeout=0.2)
        self.assertEqual(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)

    def test_calls_and_streams_send_the_key(self):
        self.assertEqual(self.client.Recommend(pb.RecommendRequest()).request_id, "list")
        page = next(self.client.ExportUserPages(pb.ExportUserPagesRequest()))
        self.assertEqual(page.stored_model, "True")
        with Client(self.address) as other:
            error = self.failure(other, pb.RecommendRequest())
        self.assertEqual((error.code, error.reason),
                         (grpc.StatusCode.UNAUTHENTICATED, "KEY_UNKNOWN"))

    def test_an_error_names_its_reason_and_every_broken_rule(self):
        error = self.failure(self.client, pb.RecommendRequest(limit=1000))
        self.assertEqual(error.code, grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(error.reason, "INVALID_FIELD")
        self.assertEqual(error.violations, [Violation(INVALID.field, INVALID.description)])
        self.assertEqual(str(error), "INVALID_ARGUMENT INVALID_FIELD: limit must be 1 to 100, "
                                     "or 0 for the default")
        self.assertIsNone(error.retry_after)

    def test_an_error_has_the_delay_after_which_to_retry(self):
        error = self.failure(self.client, pb.RecommendRequest(user_id="over quota"))
        self.assertEqual((error.reason, error.retry_after), ("QUOTA_EXCEEDED", 1.5))

    def test_an_error_of_the_connection_has_no_reason(self):
        with Client("127.0.0.1:1") as client:
            error = self.failure(client, pb.RecommendRequest())
        self.assertEqual((error.code, error.reason), (grpc.StatusCode.UNAVAILABLE, ""))

    def test_a_client_certificate_without_tls_is_refused(self):
        with self.assertRaises(ValueError):
            Client(cert_file="client.pem")


if __name__ == "__main__":
    unittest.main()

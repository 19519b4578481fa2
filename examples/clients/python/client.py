"""A client of recsys: sends a user's events, reads the user's model, gets a
list with reasons, logs a visitor in, and shows the error of an invalid request.

README.md describes how to run it; docs/guides/clients.md explains the connection settings.
"""

import argparse
import os
import pathlib
import time

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2
from grpc_status import rpc_status
from recsys.v1 import recommender_pb2 as api
from recsys.v1 import recommender_pb2_grpc, types_pb2

SERVICE_CONFIG = pathlib.Path(__file__).parent.parent / "service_config.json"
LARGEST_REPLY_BYTES = 64 << 20
SEED = 7


def settings():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def setting(flag, default, meaning, kind=str):
        variable = "RECSYS_" + flag.upper().replace("-", "_")
        parser.add_argument("--" + flag, type=kind, default=os.environ.get(variable) or default,
                            help=f"{meaning} (default {default!r}, or {variable})")

    setting("addresses", "127.0.0.1:50051", "host:port, or several IPv4 addresses separated by commas")
    setting("ca-file", "", "CA bundle for the server's certificate (PEM); enables TLS")
    setting("server-name", "", "name in the server's certificate, if not the host name")
    setting("user", "ada", "id of the user to send events for")
    setting("placement", "", "where the lists are shown: a name of the server's ranking file")
    setting("timeout", 10.0, "deadline of each call, including retries, in seconds", float)
    setting("lists", 5, "how often to repeat the request for a list", int)
    return parser.parse_args()


def connect(given):
    """Opens the one channel of the process. It holds a connection to each address."""
    # A name may resolve to several addresses: all of them are used.
    several = "," in given.addresses
    target = f"ipv4:{given.addresses}" if several else f"dns:///{given.addresses}"
    options = [
        ("grpc.service_config", SERVICE_CONFIG.read_text()),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # By default gRPC sends at most two pings without data, because some servers
        # reject more; recsys does not limit them.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", LARGEST_REPLY_BYTES),
    ]
    # Otherwise a list of addresses would be sent as the authority, which servers reject.
    authority = given.server_name or given.addresses.split(",")[0]
    options.append(("grpc.default_authority", authority))
    if not given.ca_file:
        return grpc.insecure_channel(target, options)
    trusted = grpc.ssl_channel_credentials(pathlib.Path(given.ca_file).read_bytes())
    return grpc.secure_channel(target, trusted, options)


class Recsys:
    """The calls that this program makes, each with a deadline and the key."""

    def __init__(self, channel, timeout_s):
        self.stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        key = os.environ.get("RECSYS_KEY")
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self.common = {"timeout": timeout_s, "metadata": metadata}

    def batch_ingest(self, events):
        request = api.BatchIngestEventsRequest(events=events)
        return self.stub.BatchIngestEvents(request, **self.common)

    def ingest(self, event):
        return self.stub.IngestEvent(api.IngestEventRequest(event=event), **self.common)

    def signals(self, user):
        request = api.GetUserSignalsRequest(user_id=user)
        return self.stub.GetUserSignals(request, **self.common)

    def recommend(self, request):
        return self.stub.Recommend(request, **self.common)

    def merge(self, visitor, account):
        request = api.MergeUsersRequest(from_user_id=visitor, into_user_id=account)
        return self.stub.MergeUsers(request, **self.common)


def minutes_ago(minutes):
    return Timestamp(seconds=int(time.time()) - 60 * minutes)


def view(user, name, item, minutes, dwell_seconds, end_reason):
    """Returns a finished view. Its event id makes it safe to send twice."""
    return types_pb2.InteractionEvent(
        user_id=user,
        event_type="CONTENT_VIEW_ENDED",
        event_id=name,
        event_time=minutes_ago(minutes),
        content_id=item,
        dwell_seconds=dwell_seconds,
        end_reason=end_reason,
    )


def ingest_a_batch(recsys, user):
    first = view(user, "view-1", "2004", 50, 45, types_pb2.END_REASON_NEXT_BUTTON)
    events = [
        first,
        view(user, "view-2", "2036", 40, 150, types_pb2.END_REASON_NEXT_BUTTON),
        view(user, "view-3", "2014", 30, 3, types_pb2.END_REASON_ABANDON),
        first,
        view(user, "view-4", "2099", 20, -1, types_pb2.END_REASON_LINK),
    ]
    print("events sent in a batch")
    for event, result in zip(events, recsys.batch_ingest(events).results):
        print(f"  {event.event_id} {api.IngestOutcome.Name(result.outcome)[15:]}")
        if result.HasField("error"):
            error = result.error
            print(f"    {code_pb2.Code.Name(error.code)} {error.reason}")
            for violation in error.violations:
                print(f"    {violation.field}: {violation.description}")


def read_signals(recsys, user):
    reply = recsys.signals(user)
    signals = reply.signals
    source = api.SignalsSource.Name(reply.source)[15:]
    print(f"model {source} of {signals.event_count} events")
    print(f"  liked {' '.join(sorted(signals.positives))}")
    print(f"  disliked {' '.join(sorted(signals.negatives))}")
    strongest = sorted(signals.tag_affinity.items(), key=lambda tag: (-tag[1], tag[0]))
    for tag, affinity in strongest[:3]:
        print(f"  {affinity:.2f} {tag}")


def get_lists(recsys, user, placement, how_many):
    request = api.RecommendRequest(user_id=user, placement=placement, limit=5, seed=SEED)
    reply = recsys.recommend(request)
    print(f"list {api.RecommendStrategy.Name(reply.strategy)[19:]}")
    for item in reply.items:
        like = f" like {item.similar_to}" if item.similar_to else ""
        role = api.ItemRole.Name(item.role)[10:]
        print(f"  {item.rank}. {item.content_id} {item.score:.2f} {role}{like}")

    ids = [item.content_id for item in reply.items]
    again = [recsys.recommend(request).items for _ in range(how_many)]
    same = all([item.content_id for item in items] == ids for items in again)
    print(f"{how_many} more with the same seed: {'the same' if same else 'DIFFERENT'}")
    return reply


def open_the_first(recsys, user, reply):
    """Sends an event that follows from the list, with the list's id and all displayed items."""
    event = types_pb2.InteractionEvent(
        user_id=user,
        event_type="CONTENT_VIEW_STARTED",
        event_id="open-1",
        event_time=minutes_ago(1),
        request_id=reply.request_id,
        content_id=reply.items[0].content_id,
        impressions=[item.content_id for item in reply.items],
    )
    ingested = recsys.ingest(event)
    outcome = api.IngestOutcome.Name(ingested.outcome)[15:]
    print(f"opened the first: {outcome}, {ingested.buffered_events} events kept")


def log_in(recsys, user):
    """Moves what the user did before, as a visitor without an account, to the account."""
    visitor = f"{user}-visitor"
    recsys.ingest(view(visitor, "visit-1", "2020", 60, 45, types_pb2.END_REASON_NEXT_BUTTON))
    merged = recsys.merge(visitor, user)
    print(f"the visitor logged in: {merged.moved_events} event moved")


def ask_badly(recsys, user):
    bad = api.RecommendRequest(user_id=user, limit=1000, radius_meters=-1)
    bad.near.latitude = 91
    try:
        recsys.recommend(bad)
    except grpc.RpcError as error:
        print(f"a bad request: {error.code().name}")
        for detail in rpc_status.from_call(error).details:
            show(detail)


def show(detail):
    """Prints one detail of an error."""
    info = error_details_pb2.ErrorInfo()
    if detail.Unpack(info):
        print(f"  {info.reason} of {info.domain}")
    bad = error_details_pb2.BadRequest()
    if detail.Unpack(bad):
        for violation in bad.field_violations:
            print(f"  {violation.field}: {violation.description}")


def main():
    given = settings()
    with connect(given) as channel:
        recsys = Recsys(channel, given.timeout)
        ingest_a_batch(recsys, given.user)
        read_signals(recsys, given.user)
        reply = get_lists(recsys, given.user, given.placement, given.lists)
        open_the_first(recsys, given.user, reply)
        log_in(recsys, given.user)
        ask_badly(recsys, given.user)


if __name__ == "__main__":
    main()

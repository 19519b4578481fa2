package recsys.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Timestamp;
import com.google.rpc.BadRequest;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import recsys.v1.BatchIngestEventsRequest;
import recsys.v1.EndReason;
import recsys.v1.GeoPoint;
import recsys.v1.GetUserSignalsRequest;
import recsys.v1.IngestEventRequest;
import recsys.v1.IngestResult;
import recsys.v1.InteractionEvent;
import recsys.v1.MergeUsersRequest;
import recsys.v1.RecommendRequest;
import recsys.v1.RecommendResponse;
import recsys.v1.RecommendedItem;
import recsys.v1.RecommenderServiceGrpc;
import recsys.v1.RecommenderServiceGrpc.RecommenderServiceBlockingStub;
import recsys.v1.UserSignals;

/**
 * A client of recsys: sends a user's events, reads the user's model, gets a list with reasons, and
 * shows the error of an invalid request.
 *
 * <p>README.md describes how to run it; docs/guides/clients.md explains the connection settings.
 */
final class Client {
  private static final int SEED = 7;

  private final RecommenderServiceBlockingStub stub;
  private final String user;
  private final String placement;
  private final Duration timeout;

  private Client(ManagedChannel channel, Settings given) {
    stub = RecommenderServiceGrpc.newBlockingStub(channel);
    user = given.user();
    placement = given.placement();
    timeout = given.timeout();
  }

  public static void main(String[] arguments) throws Exception {
    Settings given = Settings.from(arguments);
    ManagedChannel channel = Connection.open(given);
    try {
      Client client = new Client(channel, given);
      client.ingestABatch();
      client.readSignals();
      RecommendResponse list = client.getLists(given.lists());
      client.openTheFirst(list);
      client.logIn();
      client.askBadly();
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  /** Returns the stub for one call, with the deadline counted from now. */
  private RecommenderServiceBlockingStub call() {
    return stub.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS);
  }

  private static Timestamp minutesAgo(int minutes) {
    long seconds = Instant.now().getEpochSecond() - 60L * minutes;
    return Timestamp.newBuilder().setSeconds(seconds).build();
  }

  /** Returns a finished view. Its event id makes it safe to send twice. */
  private InteractionEvent view(
      String name, String item, int minutes, double dwellSeconds, EndReason endReason) {
    return InteractionEvent.newBuilder()
        .setUserId(user)
        .setEventType("CONTENT_VIEW_ENDED")
        .setEventId(name)
        .setEventTime(minutesAgo(minutes))
        .setContentId(item)
        .setDwellSeconds(dwellSeconds)
        .setEndReason(endReason)
        .build();
  }

  private void ingestABatch() {
    InteractionEvent first = view("view-1", "2004", 50, 45, EndReason.END_REASON_NEXT_BUTTON);
    List<InteractionEvent> events =
        List.of(
            first,
            view("view-2", "2036", 40, 150, EndReason.END_REASON_NEXT_BUTTON),
            view("view-3", "2014", 30, 3, EndReason.END_REASON_ABANDON),
            first,
            view("view-4", "2099", 20, -1, EndReason.END_REASON_LINK));
    List<IngestResult> results =
        call()
            .batchIngestEvents(BatchIngestEventsRequest.newBuilder().addAllEvents(events).build())
            .getResultsList();
    System.out.println("events sent in a batch");
    for (int i = 0; i < results.size(); i++) {
      IngestResult result = results.get(i);
      String outcome = without("INGEST_OUTCOME_", result.getOutcome());
      System.out.println("  " + events.get(i).getEventId() + " " + outcome);
      if (!result.hasError()) {
        continue;
      }
      var error = result.getError();
      System.out.println("    " + Code.forNumber(error.getCode()) + " " + error.getReason());
      error
          .getViolationsList()
          .forEach(broken -> System.out.println("    " + broken.getField() + ": " + broken.getDescription()));
    }
  }

  private void readSignals() {
    var reply = call().getUserSignals(GetUserSignalsRequest.newBuilder().setUserId(user).build());
    UserSignals signals = reply.getSignals();
    String source = without("SIGNALS_SOURCE_", reply.getSource());
    System.out.println("model " + source + " of " + signals.getEventCount() + " events");
    System.out.println("  liked " + sorted(signals.getPositivesMap()));
    System.out.println("  disliked " + sorted(signals.getNegativesMap()));
    signals.getTagAffinityMap().entrySet().stream()
        .sorted(
            Map.Entry.<String, Double>comparingByValue(Comparator.reverseOrder())
                .thenComparing(Map.Entry.comparingByKey()))
        .limit(3)
        .forEach(tag -> System.out.println("  " + twoDigits(tag.getValue()) + " " + tag.getKey()));
  }

  private RecommendResponse getLists(int howMany) {
    RecommendRequest request =
        RecommendRequest.newBuilder()
            .setUserId(user)
            .setPlacement(placement)
            .setLimit(5)
            .setSeed(SEED)
            .build();
    RecommendResponse reply = call().recommend(request);
    System.out.println("list " + without("RECOMMEND_STRATEGY_", reply.getStrategy()));
    for (RecommendedItem item : reply.getItemsList()) {
      String like = item.getSimilarTo().isEmpty() ? "" : " like " + item.getSimilarTo();
      String role = without("ITEM_ROLE_", item.getRole());
      System.out.println(
          "  " + item.getRank() + ". " + item.getContentId() + " " + twoDigits(item.getScore())
              + " " + role + like);
    }

    String result = "the same";
    for (int i = 0; i < howMany; i++) {
      if (!ids(call().recommend(request)).equals(ids(reply))) {
        result = "DIFFERENT";
      }
    }
    System.out.println(howMany + " more with the same seed: " + result);
    return reply;
  }

  /** Sends an event that follows from the list, with the list's id and all displayed items. */
  private void openTheFirst(RecommendResponse list) {
    InteractionEvent event =
        InteractionEvent.newBuilder()
            .setUserId(user)
            .setEventType("CONTENT_VIEW_STARTED")
            .setEventId("open-1")
            .setEventTime(minutesAgo(1))
            .setRequestId(list.getRequestId())
            .setContentId(list.getItems(0).getContentId())
            .addAllImpressions(ids(list))
            .build();
    var reply = call().ingestEvent(IngestEventRequest.newBuilder().setEvent(event).build());
    String outcome = without("INGEST_OUTCOME_", reply.getOutcome());
    System.out.println(
        "opened the first: " + outcome + ", " + reply.getBufferedEvents() + " events kept");
  }

  /** Moves what the user did before, as a visitor without an account, to the account. */
  private void logIn() {
    InteractionEvent visit =
        view("visit-1", "2020", 60, 45, EndReason.END_REASON_NEXT_BUTTON).toBuilder()
            .setUserId(user + "-visitor")
            .build();
    call().ingestEvent(IngestEventRequest.newBuilder().setEvent(visit).build());
    var reply =
        call()
            .mergeUsers(
                MergeUsersRequest.newBuilder()
                    .setFromUserId(visit.getUserId())
                    .setIntoUserId(user)
                    .build());
    System.out.println("the visitor logged in: " + reply.getMovedEvents() + " event moved");
  }

  private void askBadly() throws InvalidProtocolBufferException {
    RecommendRequest bad =
        RecommendRequest.newBuilder()
            .setUserId(user)
            .setLimit(1000)
            .setNear(GeoPoint.newBuilder().setLatitude(91))
            .setRadiusMeters(-1)
            .build();
    try {
      call().recommend(bad);
    } catch (StatusRuntimeException error) {
      System.out.println("a bad request: " + error.getStatus().getCode());
      for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
        show(detail);
      }
    }
  }

  /** Prints one detail of an error. */
  private static void show(Any detail) throws InvalidProtocolBufferException {
    if (detail.is(ErrorInfo.class)) {
      ErrorInfo info = detail.unpack(ErrorInfo.class);
      System.out.println("  " + info.getReason() + " of " + info.getDomain());
    }
    if (detail.is(BadRequest.class)) {
      detail
          .unpack(BadRequest.class)
          .getFieldViolationsList()
          .forEach(broken -> System.out.println("  " + broken.getField() + ": " + broken.getDescription()));
    }
  }

  private static List<String> ids(RecommendResponse list) {
    return list.getItemsList().stream().map(RecommendedItem::getContentId).toList();
  }

  private static String sorted(Map<String, Double> items) {
    return String.join(" ", new TreeSet<>(items.keySet()));
  }

  private static String twoDigits(double number) {
    return String.format(Locale.ROOT, "%.2f", number);
  }

  /** Returns an enum value's name without the prefix. */
  private static String without(String prefix, Enum<?> value) {
    return value.name().startsWith(prefix) ? value.name().substring(prefix.length()) : value.name();
  }
}

package recsys.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import recsys.v1.BatchIngestEventsRequest;
import recsys.v1.BatchIngestEventsResponse;
import recsys.v1.ExportUserPagesRequest;
import recsys.v1.ExportUserPagesResponse;
import recsys.v1.IngestOutcome;
import recsys.v1.IngestResult;
import recsys.v1.InteractionEvent;
import recsys.v1.RecommendRequest;
import recsys.v1.RecommendResponse;
import recsys.v1.RecommenderServiceGrpc.RecommenderServiceImplBase;

/** Tests against a server in this process. */
final class RecsysClientTest {
  private static final String KEY = "shop_key";
  private static final String RULE = "must be 1 to 100, or 0 for the default";
  private static final Context.Key<String> AUTHORIZATION = Context.key("authorization");

  private final Recommender recommender = new Recommender();
  private Server server;
  private String address;

  /** Stores events by their ids; can lose replies. */
  private static final class Recommender extends RecommenderServiceImplBase {
    final Set<String> stored = Collections.synchronizedSet(new HashSet<>());
    final List<String> sentIds = Collections.synchronizedList(new ArrayList<>());
    volatile int lostReplies;
    volatile long remainingSeconds;

    @Override
    public void batchIngestEvents(
        BatchIngestEventsRequest request, StreamObserver<BatchIngestEventsResponse> reply) {
      var results = BatchIngestEventsResponse.newBuilder();
      for (InteractionEvent event : request.getEventsList()) {
        sentIds.add(event.getEventId());
        boolean isNew = stored.add(event.getEventId());
        results.addResults(
            IngestResult.newBuilder()
                .setOutcome(
                    isNew
                        ? IngestOutcome.INGEST_OUTCOME_ACCEPTED
                        : IngestOutcome.INGEST_OUTCOME_DUPLICATE));
      }
      if (lostReplies > 0) {
        lostReplies--;
        reply.onError(io.grpc.Status.UNAVAILABLE.asRuntimeException());
        return;
      }
      reply.onNext(results.build());
      reply.onCompleted();
    }

    @Override
    public void recommend(RecommendRequest request, StreamObserver<RecommendResponse> reply) {
      remainingSeconds = Context.current().getDeadline().timeRemaining(TimeUnit.SECONDS);
      if (!("Bearer " + KEY).equals(AUTHORIZATION.get())) {
        refuse(reply, Code.UNAUTHENTICATED, "no key", new Metadata(), info("KEY_UNKNOWN"));
      } else if (request.getLimit() > 100) {
        var broken =
            BadRequest.FieldViolation.newBuilder().setField("limit").setDescription(RULE);
        refuse(
            reply,
            Code.INVALID_ARGUMENT,
            "limit " + RULE,
            new Metadata(),
            info("INVALID_FIELD"),
            BadRequest.newBuilder().addFieldViolations(broken).build());
      } else if (request.getUserId().equals("over quota")) {
        Metadata metadata = new Metadata();
        // The library must not retry this one.
        metadata.put(
            Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER), "-1");
        var delay = com.google.protobuf.Duration.newBuilder().setSeconds(1).setNanos(500_000_000);
        refuse(
            reply,
            Code.RESOURCE_EXHAUSTED,
            "too many calls",
            metadata,
            info("QUOTA_EXCEEDED"),
            RetryInfo.newBuilder().setRetryDelay(delay).build());
      } else if (!request.getUserId().equals("slow")) {
        reply.onNext(RecommendResponse.newBuilder().setRequestId("list").build());
        reply.onCompleted();
      }
    }

    @Override
    public void exportUserPages(
        ExportUserPagesRequest request, StreamObserver<ExportUserPagesResponse> reply) {
      String sent = String.valueOf(AUTHORIZATION.get());
      reply.onNext(ExportUserPagesResponse.newBuilder().setStoredModel(sent).build());
      reply.onCompleted();
    }

    private static ErrorInfo info(String reason) {
      return ErrorInfo.newBuilder().setReason(reason).setDomain("recsys.v1").build();
    }

    private static void refuse(
        StreamObserver<?> reply, Code code, String message, Metadata metadata, Message... details) {
      var status =
          com.google.rpc.Status.newBuilder()
              .setCode(code.value())
              .setMessage(message)
              .addAllDetails(Arrays.stream(details).map(Any::pack).toList())
              .build();
      reply.onError(StatusProto.toStatusRuntimeException(status, metadata));
    }
  }

  /** Puts the key of a call into its context. */
  private static final class ReadKey implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      String sent = headers.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER));
      return Contexts.interceptCall(
          Context.current().withValue(AUTHORIZATION, sent), call, headers, next);
    }
  }

  @BeforeEach
  void start() throws Exception {
    server =
        Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
            .addService(recommender)
            .intercept(new ReadKey())
            .build()
            .start();
    address = "127.0.0.1:" + server.getPort();
  }

  @AfterEach
  void stop() throws Exception {
    server.shutdownNow().awaitTermination();
  }

  private RecsysClient connect(String key) throws Exception {
    return RecsysClient.builder().addresses(address).key(key).open();
  }

  private static RecsysError failure(RecsysClient client, RecommendRequest.Builder request) {
    var thrown =
        assertThrows(
            StatusRuntimeException.class, () -> client.recommender().recommend(request.build()));
    return RecsysError.of(thrown);
  }

  @Test
  void anEventWhoseReplyIsLostIsRetriedAndCountsOnce() throws Exception {
    recommender.lostReplies = 1;
    try (RecsysClient client = connect("")) {
      var event = InteractionEvent.newBuilder().setUserId("ada").setContentId("2004").build();
      var results = client.ingest(List.of(event));
      assertEquals(IngestOutcome.INGEST_OUTCOME_DUPLICATE, results.get(0).getOutcome());
    }
    assertEquals(2, recommender.sentIds.size());
    assertEquals(recommender.sentIds.get(0), recommender.sentIds.get(1));
    assertEquals(Set.of(recommender.sentIds.get(0)), recommender.stored);
  }

  @Test
  void eventsKeepTheirIdsAndOthersGetOneEach() throws Exception {
    var named = InteractionEvent.newBuilder().setEventId("view-1").build();
    var unnamed = InteractionEvent.getDefaultInstance();
    try (RecsysClient client = connect("")) {
      client.ingest(List.of(named, unnamed, unnamed));
    }
    assertEquals("view-1", recommender.sentIds.get(0));
    assertEquals(3, recommender.stored.size());
    assertFalse(recommender.stored.contains(""));
    var kept = RecsysClient.withId(unnamed);
    assertEquals(kept, RecsysClient.withId(kept));
  }

  @Test
  void everyCallHasADeadline() throws Exception {
    try (RecsysClient client = connect(KEY)) {
      client.recommender().recommend(RecommendRequest.getDefaultInstance());
      assertTrue(recommender.remainingSeconds < 60);
      client
          .recommender()
          .withDeadlineAfter(500, TimeUnit.SECONDS)
          .recommend(RecommendRequest.getDefaultInstance());
      assertTrue(recommender.remainingSeconds > 60);
    }
  }

  @Test
  void aCallEndsAtItsDeadline() throws Exception {
    try (RecsysClient client =
        RecsysClient.builder().addresses(address).key(KEY).timeout(Duration.ofMillis(200)).open()) {
      var error = failure(client, RecommendRequest.newBuilder().setUserId("slow"));
      assertEquals(Code.DEADLINE_EXCEEDED, error.code());
    }
  }

  @Test
  void callsAndStreamsSendTheKey() throws Exception {
    try (RecsysClient client = connect(KEY)) {
      client.recommender().recommend(RecommendRequest.getDefaultInstance());
      var pages = client.recommender().exportUserPages(ExportUserPagesRequest.getDefaultInstance());
      assertEquals("Bearer " + KEY, pages.next().getStoredModel());
    }
    try (RecsysClient client = connect("")) {
      var error = failure(client, RecommendRequest.newBuilder());
      assertEquals(Code.UNAUTHENTICATED, error.code());
      assertEquals("KEY_UNKNOWN", error.reason());
    }
  }

  @Test
  void anErrorNamesItsReasonAndEveryBrokenRule() throws Exception {
    try (RecsysClient client = connect(KEY)) {
      var error = failure(client, RecommendRequest.newBuilder().setLimit(1000));
      assertEquals(Code.INVALID_ARGUMENT, error.code());
      assertEquals("INVALID_FIELD", error.reason());
      assertEquals(List.of(new RecsysError.Violation("limit", RULE)), error.violations());
      assertEquals("INVALID_ARGUMENT INVALID_FIELD: limit " + RULE, error.toString());
      assertEquals(Optional.empty(), error.retryAfter());
    }
  }

  @Test
  void anErrorHasTheDelayAfterWhichToRetry() throws Exception {
    try (RecsysClient client = connect(KEY)) {
      var error = failure(client, RecommendRequest.newBuilder().setUserId("over quota"));
      assertEquals("QUOTA_EXCEEDED", error.reason());
      assertEquals(Optional.of(Duration.ofMillis(1500)), error.retryAfter());
    }
  }

  @Test
  void anErrorOfTheConnectionHasNoReason() throws Exception {
    try (RecsysClient client = RecsysClient.builder().addresses("127.0.0.1:1").open()) {
      var error = failure(client, RecommendRequest.newBuilder());
      assertEquals(Code.UNAVAILABLE, error.code());
      assertEquals("", error.reason());
    }
  }

  @Test
  void aClientCertificateWithoutTlsIsRefused() {
    var builder = RecsysClient.builder().certificate("client.pem", "client.key");
    assertThrows(IllegalArgumentException.class, builder::open);
  }
}

package recsys.client;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.NameResolverRegistry;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import recsys.v1.BatchIngestEventsRequest;
import recsys.v1.CatalogServiceGrpc;
import recsys.v1.CatalogServiceGrpc.CatalogServiceBlockingStub;
import recsys.v1.IngestResult;
import recsys.v1.InteractionEvent;
import recsys.v1.RecommenderServiceGrpc;
import recsys.v1.RecommenderServiceGrpc.RecommenderServiceBlockingStub;

/**
 * A client of recsys: a well-configured channel with stubs of both services. Create one for each
 * process; it is safe for use by several threads.
 *
 * <p>Each call is retried as service_config.json says, and unary calls have a deadline. Failed
 * calls throw {@link io.grpc.StatusRuntimeException}, which {@link RecsysError#of} reads.
 */
public final class RecsysClient implements AutoCloseable {
  private static final int LARGEST_REPLY_BYTES = 16 << 20;
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final ManagedChannel channel;

  private RecsysClient(ManagedChannel channel) {
    this.channel = channel;
  }

  /** Opens a client with the settings of the environment. */
  public static RecsysClient open() throws IOException {
    return builder().open();
  }

  /** Returns a builder, with the settings of the environment. */
  public static Builder builder() {
    return new Builder();
  }

  /** Returns the stub of the recommender. */
  public RecommenderServiceBlockingStub recommender() {
    return RecommenderServiceGrpc.newBlockingStub(channel);
  }

  /** Returns the stub of the catalogue. */
  public CatalogServiceBlockingStub catalog() {
    return CatalogServiceGrpc.newBlockingStub(channel);
  }

  /** Returns the channel, for stubs of other kinds. */
  public Channel channel() {
    return channel;
  }

  /**
   * Sends events of any users, at most 1,000, and returns a result for each. An event without an
   * {@code event_id} is sent with a new one, so that a retry counts once; see {@link #withId}.
   */
  public List<IngestResult> ingest(List<InteractionEvent> events) {
    var request = BatchIngestEventsRequest.newBuilder();
    events.forEach(event -> request.addEvents(withId(event)));
    return recommender().batchIngestEvents(request.build()).getResultsList();
  }

  /**
   * Returns the event with an {@code event_id}: a new one, if it has none. An event that is kept to
   * be sent again must be kept with its id.
   */
  public static InteractionEvent withId(InteractionEvent event) {
    return event.getEventId().isEmpty()
        ? event.toBuilder().setEventId(UUID.randomUUID().toString()).build()
        : event;
  }

  /** Waits up to 5 seconds for the calls in flight, and closes the connections. */
  @Override
  public void close() {
    channel.shutdown();
    try {
      channel.awaitTermination(5, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    channel.shutdownNow();
  }

  /**
   * Settings of a client. What is not set is read from RECSYS_ADDRESSES, RECSYS_KEY,
   * RECSYS_CA_FILE, RECSYS_CERT_FILE, RECSYS_CERT_KEY_FILE and RECSYS_SERVER_NAME.
   */
  public static final class Builder {
    private String addresses = environment("ADDRESSES", "127.0.0.1:50051");
    private String key = environment("KEY", "");
    private boolean tls;
    private String caFile = environment("CA_FILE", "");
    private String certFile = environment("CERT_FILE", "");
    private String certKeyFile = environment("CERT_KEY_FILE", "");
    private String serverName = environment("SERVER_NAME", "");
    private Duration timeout = Duration.ofSeconds(10);

    private Builder() {}

    /**
     * A host name and port, all of whose addresses are used, or several addresses, each with a
     * port, separated by commas.
     */
    public Builder addresses(String addresses) {
      this.addresses = addresses;
      return this;
    }

    /** The key, if the server requires one. */
    public Builder key(String key) {
      this.key = key;
      return this;
    }

    /** Connects over TLS, and trusts Java's CAs. */
    public Builder tls() {
      tls = true;
      return this;
    }

    /** Connects over TLS, and trusts these CA certificates (PEM). */
    public Builder caFile(String file) {
      caFile = file;
      return this;
    }

    /** The client's certificate and its key (PEM), for mutual TLS. */
    public Builder certificate(String certFile, String certKeyFile) {
      this.certFile = certFile;
      this.certKeyFile = certKeyFile;
      return this;
    }

    /** The name in the server's certificate, if not the host name. */
    public Builder serverName(String name) {
      serverName = name;
      return this;
    }

    /** The deadline of unary calls that have none, retries included. The default is 10 s. */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /** Opens the client, which connects with the first call. Fails if a file cannot be read. */
    public RecsysClient open() throws IOException {
      NameResolverRegistry.getDefaultRegistry().register(new AddressList());
      String scheme = addresses.contains(",") ? AddressList.SCHEME : "dns";
      ManagedChannelBuilder<?> channel =
          Grpc.newChannelBuilder(scheme + ":///" + addresses, credentials())
              .defaultServiceConfig(serviceConfig())
              .keepAliveTime(30, TimeUnit.SECONDS)
              .keepAliveTimeout(10, TimeUnit.SECONDS)
              .keepAliveWithoutCalls(true)
              .maxInboundMessageSize(LARGEST_REPLY_BYTES)
              .intercept(new Deadline(timeout));
      if (!serverName.isEmpty()) {
        channel.overrideAuthority(serverName);
      }
      if (!key.isEmpty()) {
        Metadata metadata = new Metadata();
        metadata.put(AUTHORIZATION, "Bearer " + key);
        channel.intercept(MetadataUtils.newAttachHeadersInterceptor(metadata));
      }
      return new RecsysClient(channel.build());
    }

    private ChannelCredentials credentials() throws IOException {
      boolean certified = !certFile.isEmpty() || !certKeyFile.isEmpty();
      if (!tls && caFile.isEmpty()) {
        if (certified) {
          throw new IllegalArgumentException("a client certificate needs tls or caFile");
        }
        return InsecureChannelCredentials.create();
      }
      var credentials = TlsChannelCredentials.newBuilder();
      if (!caFile.isEmpty()) {
        credentials.trustManager(new File(caFile));
      }
      if (certified) {
        credentials.keyManager(new File(certFile), new File(certKeyFile));
      }
      return credentials.build();
    }

    private static Map<String, ?> serviceConfig() throws IOException {
      try (InputStream file = RecsysClient.class.getResourceAsStream("/recsys/service_config.json")) {
        String json = new String(file.readAllBytes(), StandardCharsets.UTF_8);
        return new Gson().fromJson(json, new TypeToken<Map<String, Object>>() {});
      }
    }

    private static String environment(String name, String preset) {
      String value = System.getenv("RECSYS_" + name);
      return value == null || value.isEmpty() ? preset : value;
    }
  }

  /** Gives unary calls without a deadline one. */
  private record Deadline(Duration timeout) implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(
        MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      boolean add = method.getType() == MethodType.UNARY && options.getDeadline() == null;
      return next.newCall(
          method,
          add ? options.withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS) : options);
    }
  }
}

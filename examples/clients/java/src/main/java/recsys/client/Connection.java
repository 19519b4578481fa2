package recsys.client;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.NameResolverRegistry;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Opens the channel. */
final class Connection {
  private static final Path SERVICE_CONFIG = Path.of("../service_config.json");
  private static final int LARGEST_REPLY_BYTES = 64 << 20;
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private Connection() {}

  /** Opens the one channel of the process. It holds a connection to each address. */
  static ManagedChannel open(Settings given) throws IOException {
    ChannelCredentials credentials = InsecureChannelCredentials.create();
    if (!given.caFile().isEmpty()) {
      credentials =
          TlsChannelCredentials.newBuilder().trustManager(new File(given.caFile())).build();
    }
    NameResolverRegistry.getDefaultRegistry().register(new Addresses());
    // A name may resolve to several addresses: all of them are used.
    boolean several = given.addresses().contains(",");
    String scheme = several ? Addresses.SCHEME : "dns";
    ManagedChannelBuilder<?> channel =
        Grpc.newChannelBuilder(scheme + ":///" + given.addresses(), credentials)
            .defaultServiceConfig(serviceConfig())
            .keepAliveTime(30, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS)
            .keepAliveWithoutCalls(true)
            .maxInboundMessageSize(LARGEST_REPLY_BYTES);
    if (!given.serverName().isEmpty()) {
      channel.overrideAuthority(given.serverName());
    }
    if (!given.key().isEmpty()) {
      Metadata metadata = new Metadata();
      metadata.put(AUTHORIZATION, "Bearer " + given.key());
      channel.intercept(MetadataUtils.newAttachHeadersInterceptor(metadata));
    }
    return channel.build();
  }

  private static Map<String, ?> serviceConfig() throws IOException {
    String json = Files.readString(SERVICE_CONFIG);
    return new Gson().fromJson(json, new TypeToken<Map<String, Object>>() {});
  }
}

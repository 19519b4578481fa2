package recsys.client;

import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.StatusOr;
import java.net.InetSocketAddress;
import java.net.URI;
import java.util.Arrays;
import java.util.List;

/** Resolves "several:///10.0.0.1:50051,10.0.0.2:50051" to these addresses. */
final class AddressList extends NameResolverProvider {
  static final String SCHEME = "several";

  @Override
  protected boolean isAvailable() {
    return true;
  }

  @Override
  protected int priority() {
    return 5;
  }

  @Override
  public String getDefaultScheme() {
    return SCHEME;
  }

  @Override
  public NameResolver newNameResolver(URI target, NameResolver.Args args) {
    if (!target.getScheme().equals(SCHEME)) {
      return null;
    }
    String list = target.getPath().substring(1);
    List<EquivalentAddressGroup> addresses =
        Arrays.stream(list.split(",")).map(AddressList::address).toList();
    return new NameResolver() {
      @Override
      public String getServiceAuthority() {
        return list.split(",")[0];
      }

      @Override
      public void start(Listener2 listener) {
        listener.onResult(
            ResolutionResult.newBuilder().setAddressesOrError(StatusOr.fromValue(addresses)).build());
      }

      @Override
      public void shutdown() {}
    };
  }

  private static EquivalentAddressGroup address(String hostAndPort) {
    int colon = hostAndPort.lastIndexOf(':');
    int port = Integer.parseInt(hostAndPort.substring(colon + 1));
    return new EquivalentAddressGroup(
        new InetSocketAddress(hostAndPort.substring(0, colon), port));
  }
}

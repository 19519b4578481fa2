package recsys.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Why a call failed. {@code reason} is stable: compare it, not {@code message}.
 *
 * @param code the status
 * @param message what happened, in words, with every broken rule
 * @param reason the name of the cause, such as "INVALID_FIELD"; empty if the error did not come
 *     from recsys, such as "connection refused"
 * @param violations every rule that the request breaks
 * @param retryAfter after which time the server expects a retry to succeed, if it sent a delay
 */
public record RecsysError(
    Code code,
    String message,
    String reason,
    List<Violation> violations,
    Optional<Duration> retryAfter) {

  /** A rule that a field of the request breaks. */
  public record Violation(String field, String description) {}

  /** Reads what the server said of a failed call. */
  public static RecsysError of(StatusRuntimeException error) {
    String reason = "";
    List<Violation> violations = new ArrayList<>();
    Optional<Duration> retryAfter = Optional.empty();
    Status status = StatusProto.fromThrowable(error);
    try {
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          reason = detail.unpack(ErrorInfo.class).getReason();
        } else if (detail.is(BadRequest.class)) {
          for (var broken : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            violations.add(new Violation(broken.getField(), broken.getDescription()));
          }
        } else if (detail.is(RetryInfo.class)) {
          var delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryAfter = Optional.of(Duration.ofSeconds(delay.getSeconds(), delay.getNanos()));
        }
      }
    } catch (InvalidProtocolBufferException e) {
      // A proxy changed the details: what could be read of them counts.
    }
    return new RecsysError(
        error.getStatus().getCode(), status.getMessage(), reason, List.copyOf(violations), retryAfter);
  }

  @Override
  public String toString() {
    return (code + " " + reason).trim() + ": " + message;
  }
}

package recsys.client;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Settings from flags such as --user ada, or from the environment. */
record Settings(
    String addresses,
    String caFile,
    String serverName,
    String user,
    String placement,
    Duration timeout,
    int lists,
    String key) {
  private static final Set<String> FLAGS =
      Set.of(
          "--addresses", "--ca-file", "--server-name", "--user", "--placement", "--timeout",
          "--lists");

  static Settings from(String[] arguments) {
    Map<String, String> given = new HashMap<>();
    for (int i = 0; i < arguments.length; i += 2) {
      if (!FLAGS.contains(arguments[i]) || i + 1 == arguments.length) {
        throw new IllegalArgumentException(
            "give " + String.join(", ", List.copyOf(FLAGS)) + ", each with a value");
      }
      given.put(arguments[i], arguments[i + 1]);
    }
    return new Settings(
        // host:port, or several IPv4 addresses separated by commas
        of(given, "--addresses", "127.0.0.1:50051"),
        // CA bundle for the server's certificate (PEM); enables TLS
        of(given, "--ca-file", ""),
        // name in the server's certificate, if not the host name
        of(given, "--server-name", ""),
        // id of the user to send events for
        of(given, "--user", "ada"),
        // where the lists are shown: a name of the server's ranking file
        of(given, "--placement", ""),
        // deadline of each call, including retries, in seconds
        Duration.ofMillis((long) (Double.parseDouble(of(given, "--timeout", "10")) * 1000)),
        // how often to repeat the request for a list
        Integer.parseInt(of(given, "--lists", "5")),
        environment("RECSYS_KEY"));
  }

  private static String of(Map<String, String> given, String flag, String preset) {
    String variable = "RECSYS_" + flag.substring(2).toUpperCase().replace('-', '_');
    String value = given.getOrDefault(flag, environment(variable));
    return value.isEmpty() ? preset : value;
  }

  private static String environment(String variable) {
    String value = System.getenv(variable);
    return value == null ? "" : value;
  }
}
